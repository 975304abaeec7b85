#!/usr/bin/env python3
"""Times a parcel that is read while it is sent: one upload into a room with 0, 1 and 4 members who fetch it meanwhile.

usage: room.py HIKYAKU [--runs 3] [--mib 2048] [--readers 0,1,4] [--lines 50] [--files 10000] [--directory /dev/shm]
               [--parts uploads,again,tree,lines]

HIKYAKU is the program (target/release/hikyaku). Everything happens in a temporary directory below --directory, which should
be a memory file system, and over TCP on the loopback interface. Each member has a home of its own, and begins to fetch when the
room says that there is a parcel. The bytes delivered are those that the server and the members have at the end; the processor
time is that of the sender, the server and the members together. The first copy of each case is compared with the original. The
last column is what cp delivers that makes as many copies at once just before: it falls where memory itself gets dearer.

Then, in this order: the same file sent again, with the bytes that cross the loopback interface meanwhile (run it in a network
namespace of its own where others use that: unshare -n sh -c 'ip link set lo up && exec bench/files/room.py …'); a tree of --files
files of 4 KiB into a room from which four members fetch it, beside rsync to four targets at once, by turns (needs rsync and sshd);
and a line at a time through `send -` and `get --stdout --follow`: the time from writing it to reading it.
"""
import argparse
import contextlib
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
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--directory", default="/dev/shm")
    parser.add_argument("--parts", default="uploads,again,tree,lines")
    options = parser.parse_args()
    parts = {"uploads": uploads, "again": again, "tree": tree, "lines": through_a_pipe}
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-room-") as work:
        work = pathlib.Path(work)
        for part in options.parts.split(","):
            place = work / part
            place.mkdir()
            parts[part](place, options)
            shutil.rmtree(place)


@contextlib.contextmanager
def fresh_room(place, options, members):
    """A room in a new place: the same content is otherwise there already."""
    place.mkdir()
    with contextlib.closing(Room(place, options.hikyaku.resolve(), members)) as room:
        yield room
    shutil.rmtree(place)


def uploads(work, options):
    most = max(map(int, options.readers.split(",")))
    # What is sent, what the server has, and what the readers have.
    with ways.memory_at_hand(work, (2 + most) * options.mib << 20):
        timed_uploads(work, options)


def timed_uploads(work, options):
    source = work / "source"
    ways.make_file(source, options.mib)
    print(f"one upload of {options.mib} MiB, medians of {options.runs}")
    print("readers  upload s  all have it s  CPU s: sender  server  readers  GB delivered per CPU s  by cp")
    for count in map(int, options.readers.split(",")):
        runs = []
        for run in range(options.runs):
            place = work / f"{count}-{run}"
            copied = copies(place, source, 1 + count)
            with fresh_room(place, options, count) as room:
                runs.append((*upload(room, place, source, count, run == 0), copied))
        sent, had, *spent, copied = (statistics.median(column) for column in zip(*runs))
        whole = statistics.median(sum(run[2:5]) for run in runs)
        delivered = (options.mib << 20) * (1 + count) / 1e9
        print(f"{count:7}  {sent:8.2f}  {had:13.2f}  {spent[0]:13.2f}  {spent[1]:6.2f}  {spent[2]:7.2f}  "
              f"{delivered / whole:22.2f}  {delivered / copied:5.2f}", flush=True)


def copies(place, source, count):
    """The processor time of cp that makes so many copies at once: what so much memory costs whoever fills it."""
    place.mkdir()
    copying = [subprocess.Popen(["cp", source, place / str(number)]) for number in range(count)]
    spent = sum(map(wait, copying))
    shutil.rmtree(place)
    return spent


def again(work, options):
    source = work / "source"
    ways.make_file(source, options.mib)
    with fresh_room(work / "room", options, 0) as room:
        for time_of in ("first", "second"):
            before, begun = loopback_bytes(), time.monotonic()
            wait(room.start("owner", "send", source, "--to", "#ops"))
            took, crossed = time.monotonic() - begun, loopback_bytes() - before
            share = crossed / source.stat().st_size
            print(f"{options.mib} MiB, {time_of} time: {crossed} bytes on the loopback interface, {share:.3%}; {took:.2f} s")


def loopback_bytes():
    # Of this network namespace; what /sys shows may be that of another one.
    for line in pathlib.Path("/proc/self/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[8])
    raise SystemExit("there is no loopback interface")


TARGETS = 4


def tree(work, options):
    source = work / "source"
    ways.make_tree(source, options.files)
    for_rsync = ways.makers(work, options.hikyaku, ways.Ends())
    with contextlib.ExitStack() as stack:
        others = {name: stack.enter_context(contextlib.closing(for_rsync[name]())) for name in ("rsync", "rsync-ssh")}
        results = {"hikyaku": [], **{name: [] for name in others}}
        for run in range(options.runs):
            place = work / f"room-{run}"
            with fresh_room(place, options, TARGETS) as room:
                _, had, *spent = upload(room, place, source, TARGETS, run == 0)
                results["hikyaku"].append((had, sum(spent)))
            for name, case in others.items():
                results[name].append(rsync_to_targets(case, source))
    print(f"a tree of {options.files} files of 4 KiB to {TARGETS} targets at once, medians of {options.runs}")
    for name, runs in results.items():
        took, spent = (statistics.median(column) for column in zip(*runs))
        what = others[name].description if name in others else "hikyaku, one upload into a room and four members"
        print(f"{what}: {took:.2f} s, {spent:.2f} CPU s")


def rsync_to_targets(case, source):
    before, begun = case.server_seconds(), time.monotonic()
    *command, into = case.command(source)
    copies = [f"target{number}" for number in range(TARGETS)]
    sending = [subprocess.Popen([*command, f"{into}{copy}/"], stdin=subprocess.DEVNULL) for copy in copies]
    spent = sum(map(wait, sending))
    took = time.monotonic() - begun
    # The server's children are counted once they have been waited for.
    time.sleep(0.3)
    spent += case.server_seconds() - before
    for copy in copies:
        shutil.rmtree(case.into / copy)
    return took, spent


def through_a_pipe(work, options):
    with fresh_room(work / "room", options, 1) as room:
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
    sender = wait(sending)
    sent = time.monotonic() - begun
    members = sum(map(wait, readers))
    had = time.monotonic() - begun
    server = room.server_seconds() - before
    watching.kill()
    watching.wait()
    for reader in range(count):
        copy = place / f"into{reader}" / source.name
        if check and subprocess.run(["diff", "-rq", source, copy]).returncode != 0:
            raise SystemExit("what a reader has is not what was sent")
    return sent, had, sender, server, members


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
