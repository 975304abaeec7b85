#!/usr/bin/env python3
"""Counts what is sent of a newer version of a file whose older version is there: into a room, into a directory, and into a
directory as one file of a tree that lies in it.

usage: versions.py HIKYAKU [--mib 2048] [--directory /dev/shm] [--places room,file,tree] [--changes "4 KiB,put in"]

HIKYAKU is the program (target/release/hikyaku). Everything happens in a temporary directory below --directory, which should
be a memory file system, over TCP on the loopback interface and through a proxy that counts. Each kind of change is made to the
first version, which is sent before it; what is counted are the bytes of both directions, TLS included, the processor's time of both
ends, and the most memory that the server and any of the clients held. What arrived is compared with what was sent, fetched from the room where it went there.
"""
import argparse
import filecmp
import os
import pathlib
import random
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import cases as ways

MIB = 1 << 20


class Cable:
    """A TCP proxy that counts the bytes of both directions."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.leads_to, self.bytes = self.listener.getsockname()[1], None, 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.leads_to))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one, other):
        try:
            while data := one.recv(MIB):
                other.sendall(data)
                self.bytes += len(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class World:
    def __init__(self, work, hikyaku):
        self.work, self.hikyaku, self.cable = work, hikyaku, Cable()
        self.into = work / "into"
        self.into.mkdir()
        self.environment = dict(os.environ, HIKYAKU_HOME=str(work / "home"))
        self.cable.leads_to = ways.free_port()
        self.server = subprocess.Popen(
            [hikyaku, "serve", "--data", work / "data", "--listen", f"127.0.0.1:{self.cable.leads_to}", "--into", self.into,
             "--advertise", f"127.0.0.1:{self.cable.port}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        link = None
        for line in self.server.stdout:
            if line.startswith("invite: "):
                link = line.split(" ", 1)[1].strip()
            if line.startswith("ready: "):
                break
        self.run("join", "-", "--name", "bench", text=link)
        self.run("room", "create", "ops")

    def run(self, *arguments, text=None):
        command = [self.hikyaku, "--transport", "tcp", *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{command}: {done.stderr}")
        return done.stdout

    def send(self, source, to):
        before, begun, busy = self.cable.bytes, time.monotonic(), self.busy()
        said = self.run("send", source, "--to", to, *(["--overwrite", "always"] if to == ":" else []))
        took = time.monotonic() - begun
        return self.cable.bytes - before, took, self.busy() - busy, said

    def busy(self):
        """Seconds that the server and all clients so far were on a processor."""
        fields = pathlib.Path(f"/proc/{self.server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        clients = resource.getrusage(resource.RUSAGE_CHILDREN)
        ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return ticks + clients.ru_utime + clients.ru_stime

    def peaks(self):
        """MiB that the server held at most, and the largest client so far."""
        status = pathlib.Path(f"/proc/{self.server.pid}/status").read_text()
        server = int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))
        return server / 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024

    def arrived(self, source, place, said):
        """Where what was sent lies."""
        if place != "room":
            return self.into / (source.relative_to(self.work / "home-of-source"))
        reference = re.search(r"#ops:[0-9.]+", said).group(0)
        fetched = self.work / "fetched"
        fetched.mkdir()
        self.run("get", reference, "--into", fetched)
        return fetched / source.name

    def close(self):
        self.server.terminate()
        self.server.wait()


def scattered(piece):
    """One in a hundred bytes is another one, in pieces of this length that lie anywhere."""

    def change(path, size, dice):
        with open(path, "r+b") as file:
            for _ in range(size // 100 // piece):
                file.seek(dice.randrange(0, size - piece))
                file.write(dice.randbytes(piece))

    return change


def put_in(path, size, dice):
    """One in a hundred bytes is new and lies between others, at ten places."""
    old = path.with_suffix(".old")
    os.rename(path, old)
    places = sorted(dice.randrange(0, size) for _ in range(10))
    with open(old, "rb") as source, open(path, "wb") as file:
        for place in places:
            while (left := place - source.tell()) > 0:
                file.write(source.read(min(left, MIB)))
            file.write(dice.randbytes(size // 1000 + 1))
        shutil.copyfileobj(source, file, MIB)
    os.unlink(old)


def nothing(path, size, dice):
    """It has another time, and nothing else."""


CHANGES = {
    "nothing but its time": nothing,
    "1 % in pieces of 1 MiB": scattered(MIB),
    "1 % in pieces of 64 KiB": scattered(64 * 1024),
    "1 % in pieces of 16 KiB": scattered(16 * 1024),
    "1 % in pieces of 4 KiB": scattered(4 * 1024),
    "1 % put in at ten places": put_in,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hikyaku", type=pathlib.Path)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--directory", default="/dev/shm")
    parser.add_argument("--places", default="room,file,tree")
    parser.add_argument("--changes", default="", help="those alone whose names have one of these in them")
    options = parser.parse_args()
    size, dice = options.mib * MIB, random.Random(5)
    print(f"a newer version of {options.mib} MiB; the older one is there")
    print("into    change                     sent %   MiB     s  CPU s  server, client MiB")
    for place in options.places.split(","):
        for name, change in CHANGES.items():
            if not any(part in name for part in options.changes.split(",")):
                continue
            with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-versions-") as work:
                measure(pathlib.Path(work), options, place, name, change, (size, dice))


def measure(work, options, place, name, change, random_size):
    size, dice = random_size
    home = work / "home-of-source"
    source = home / "tree" / "big.img" if place == "tree" else home / "big.img"
    source.parent.mkdir(parents=True)
    sent_path, to = (home / "tree" if place == "tree" else source), ("#ops" if place == "room" else ":")
    world = World(work, options.hikyaku.resolve())
    try:
        ways.make_file(source, options.mib)
        world.send(sent_path, to)
        change(source, size, dice)
        os.utime(source)
        sent, took, busy, said = world.send(sent_path, to)
        peaks = world.peaks()
        if not filecmp.cmp(source, world.arrived(source, place, said), shallow=False):
            raise SystemExit("what is there is not what was sent")
    finally:
        world.close()
    print(f"{place:7} {name:26} {sent / size:6.2%}  {sent / MIB:6.1f}  {took:5.2f}  {busy:5.2f}  {peaks[0]:.0f}, {peaks[1]:.0f}", flush=True)


if __name__ == "__main__":
    main()
