#!/usr/bin/env python3
"""Times a parcel that is read while it is sent: one upload into a room with 0, 1 and 4 members who fetch it meanwhile.

usage: room.py HIKYAKU [--runs 3] [--mib 2048] [--readers 0,1,4] [--lines 50] [--directory /dev/shm]

HIKYAKU is the program (target/release/hikyaku). Everything happens in a temporary directory below --directory, which should
be a memory file system, and over TCP on the loopback interface. Each member has a home of its own, and begins to fetch when the
room says that there is a parcel. The bytes delivered are those that the server and the members have at the end; the processor
time is that of the sender, the server and the members together. The first copy of each case is compared with the original.
Then a line at a time goes through `send -` and `get --stdout --follow`: the time from writing it to reading it.
"""
import argparse
import contextlib
import filecmp
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import cases as ways


class Room:
    """A server, its owner and some members, all in the room `ops`."""

    def __init__(self, work, hikyaku, members):
        self.hikyaku, self.work = hikyaku, work
        self.server = subprocess.Popen(
            [hikyaku, "serve", "--data", work / "data", "--listen", f"127.0.0.1:{ways.free_port()}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        link = None
        for line in self.server.stdout:
            if line.startswith("invite: "):
                link = line.split(" ", 1)[1].strip()
            if line.startswith("ready: "):
                break
        self.join("owner", link)
        self.run("owner", "room", "create", "ops")
        for member in range(members):
            self.join(f"m{member}", self.run("owner", "invite", "create").strip())

    def command(self, home, *arguments):
        environment = dict(os.environ, HIKYAKU_HOME=str(self.work / home))
        return [self.hikyaku, "--transport", "tcp", *map(str, arguments)], environment

    def run(self, home, *arguments, text=None):
        command, environment = self.command(home, *arguments)
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=True)
        return done.stdout

    def start(self, home, *arguments, **options):
        command, environment = self.command(home, *arguments)
        options = {"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL, **options}
        return subprocess.Popen(command, env=environment, **options)

    def join(self, home, link):
        self.run(home, "join", "-", "--name", home, "--device", "bench", text=link)

    def server_seconds(self):
        fields = pathlib.Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.server.terminate()
        self.server.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hikyaku", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--readers", default="0,1,4")
    parser.add_argument("--lines", type=int, default=50)
    parser.add_argument("--directory", default="/dev/shm")
    options = parser.parse_args()
    counts = [int(count) for count in options.readers.split(",")]
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-room-") as work:
        work = pathlib.Path(work)
        source = work / "source"
        ways.make_file(source, options.mib)
        print(f"one upload of {options.mib} MiB, medians of {options.runs}")
        print("readers  upload s  all have it s  CPU s  GB delivered per CPU s")
        for count in counts:
            runs = []
            for run in range(options.runs):
                # Fresh each time: the same content is otherwise there already.
                place = work / f"{count}-{run}"
                place.mkdir()
                with contextlib.closing(Room(place, options.hikyaku.resolve(), count)) as room:
                    runs.append(upload(room, place, source, count, run == 0))
                shutil.rmtree(place)
            sent, had, spent = (statistics.median(column) for column in zip(*runs))
            delivered = (options.mib << 20) * (1 + count) / 1e9
            print(f"{count:7}  {sent:8.2f}  {had:13.2f}  {spent:5.2f}  {delivered / spent:22.2f}", flush=True)
        place = work / "lines"
        place.mkdir()
        with contextlib.closing(Room(place, options.hikyaku.resolve(), 1)) as room:
            first, rest = lines(room, options.lines)
        print(f"first line through a new pipe: {first * 1e3:.1f} ms; then median {statistics.median(rest) * 1e3:.1f} ms, "
              f"slowest {max(rest) * 1e3:.1f} ms of {len(rest)}")


def upload(room, place, source, count, check):
    watching = room.start("owner", "tail", "ops", "-f", "--json", "--after", "0", stdout=subprocess.PIPE, text=True)
    before, begun = room.server_seconds(), time.monotonic()
    sending = room.start("owner", "send", source, "--to", "#ops")
    for line in watching.stdout:
        if json.loads(line).get("kind") == "parcel":
            break
    for reader in range(count):
        (place / f"into{reader}").mkdir()
    readers = [room.start(f"m{reader}", "get", "#ops:1", "--into", place / f"into{reader}") for reader in range(count)]
    spent = [wait(sending)]
    sent = time.monotonic() - begun
    spent += [wait(reader) for reader in readers]
    had = time.monotonic() - begun
    watching.kill()
    watching.wait()
    for reader in range(count):
        if check and not filecmp.cmp(source, place / f"into{reader}" / source.name, shallow=False):
            raise SystemExit("what a reader has is not what was sent")
    return sent, had, sum(spent) + room.server_seconds() - before


def wait(process):
    """Its user and system time."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{process.args} failed")
    return usage.ru_utime + usage.ru_stime


def lines(room, count):
    sending = room.start("owner", "send", "-", "--to", "#ops", "--name", "log", stdin=subprocess.PIPE)
    watching = room.start("m0", "tail", "ops", "-f", "--json", "--after", "0", stdout=subprocess.PIPE, text=True)
    for line in watching.stdout:
        if json.loads(line).get("kind") == "parcel":
            break
    watching.kill()
    watching.wait()
    reading = room.start(
        "m0", "get", "#ops:1", "--stdout", "--follow", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    # The reader's connection is not what is measured.
    time.sleep(1)
    times = []
    for number in range(count + 1):
        line = f"line {number}\n".encode()
        begun = time.monotonic()
        sending.stdin.write(line)
        sending.stdin.flush()
        if reading.stdout.readline() != line:
            raise SystemExit("another line came through")
        times.append(time.monotonic() - begun)
        time.sleep(0.02)
    sending.stdin.close()
    reading.stdout.read()
    wait(sending)
    wait(reading)
    return times[0], times[1:]


if __name__ == "__main__":
    main()
