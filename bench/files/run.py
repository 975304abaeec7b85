#!/usr/bin/env python3
"""Times sending one file into a directory: `hikyaku send FILE --to :` beside cp, scp and an rsync daemon.

usage: run.py HIKYAKU [--runs 5] [--mib 2048] [--directory /dev/shm] [--cases cp,scp,…]

HIKYAKU is the program (target/release/hikyaku). Everything happens in a temporary directory below --directory, which
should be a memory file system, and on the loopback interface: servers, keys and configurations are made there and are
gone afterwards. The cases take turns, in another order each time. The time is the client command's, from its start to
its end; the processor time is that of the client with all it starts, and of the server with all that it has started.
The first copy of each case is compared with the original, byte by byte. Needs sshd and rsync for their cases.
"""
import argparse
import contextlib
import filecmp
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

# A server's children are counted once they have been waited for.
SETTLE = 0.3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hikyaku", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--directory", default="/dev/shm")
    parser.add_argument("--cases", default="cp,scp,rsync,hikyaku-tcp,hikyaku-quic")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-files-") as work, contextlib.ExitStack() as stack:
        work = pathlib.Path(work)
        source = work / "file"
        make_file(source, options.mib)
        # The pages of a memory file system that were never used before are slow.
        shutil.copyfile(source, work / "warm-up")
        (work / "warm-up").unlink()
        makers = {
            "cp": lambda: Copy(work),
            "scp": lambda: Scp(work),
            "rsync": lambda: Rsync(work),
            "hikyaku-tcp": lambda: Hikyaku(work, options.hikyaku.resolve(), "tcp"),
            "hikyaku-quic": lambda: Hikyaku(work, options.hikyaku.resolve(), "quic"),
        }
        cases = {name: stack.enter_context(contextlib.closing(makers[name]())) for name in options.cases.split(",")}
        results = measure(cases, source, options.runs)
        print_table(cases, results, source.stat().st_size / 1e9, options.runs)


def measure(cases, source, runs):
    results = {name: [] for name in cases}
    names = list(cases)
    for run in range(runs):
        for at in range(len(names)):
            name = names[(at + run) % len(names)]
            case = cases[name]
            copy = case.into / source.name
            copy.unlink(missing_ok=True)
            before = case.server_seconds()
            begun = time.monotonic()
            client = run_and_count(case.command(source), case.environment)
            wall = time.monotonic() - begun
            time.sleep(SETTLE)
            server = case.server_seconds() - before
            if run == 0 and not filecmp.cmp(source, copy, shallow=False):
                sys.exit(f"{name} made a different file")
            copy.unlink()
            results[name].append((wall, client, server))
            print(f"run {run}: {name}: {wall:.2f} s", file=sys.stderr)
    return results


def print_table(cases, results, gigabytes, runs):
    print(f"| case | wall s (least to most of {runs} runs) | × cp | GB/s | client CPU s/GB | server CPU s/GB | both |")
    print("|---|---|---|---|---|---|---|")
    for name, rows in results.items():
        walls = [row[0] for row in rows]
        ratios = [row[0] / reference[0] for row, reference in zip(rows, results.get("cp", rows))]
        client, server = (statistics.median(row[column] for row in rows) / gigabytes for column in (1, 2))
        wall = statistics.median(walls)
        print(
            f"| {cases[name].description} | {wall:.2f} ({min(walls):.2f} to {max(walls):.2f}) "
            f"| {statistics.median(ratios):.2f} | {gigabytes / wall:.2f} "
            f"| {client:.2f} | {server:.2f} | {client + server:.2f} |"
        )


class Case:
    """One way to send a file: a client command, and perhaps a server process."""

    environment = None

    def __init__(self, work, name):
        self.place = work / name
        self.into = self.place / "into"
        self.into.mkdir(parents=True)
        self.server = None

    def server_seconds(self):
        """User and system time of the server and of its children that are gone."""
        if self.server is None:
            return 0.0
        fields = pathlib.Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def start(self, command, **options):
        with open(self.place / "server.log", "ab") as log:
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, **options)

    def close(self):
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()


class Copy(Case):
    description = "cp"

    def __init__(self, work):
        super().__init__(work, "cp")

    def command(self, source):
        return ["cp", str(source), str(self.into)]


class Scp(Case):
    description = "scp, aes128-gcm"

    def __init__(self, work):
        super().__init__(work, "scp")
        self.port = free_port()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.place / key], check=True)
        shutil.copy(self.place / "user.pub", self.place / "authorized")
        config = self.place / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.place}/host\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {self.place}/authorized\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            "UseDNS no\nSubsystem sftp internal-sftp\n"
        )
        if os.getuid() == 0:
            # Where sshd's unprivileged half is locked up; Debian makes it when the service starts.
            os.makedirs("/run/sshd", exist_ok=True)
        # sshd insists on an absolute path.
        self.start([shutil.which("sshd", path="/usr/sbin:" + os.environ["PATH"]), "-D", "-e", "-f", config])
        wait_for_port(self.port)

    def command(self, source):
        trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        key = ["-i", f"{self.place}/user", "-o", "IdentitiesOnly=yes", "-F", "none"]
        cipher = ["-c", "aes128-gcm@openssh.com", "-P", str(self.port)]
        return ["scp", "-q", *cipher, *key, *trust, str(source), f"127.0.0.1:{self.into}/"]


class Rsync(Case):
    description = "rsync daemon, not encrypted"

    def __init__(self, work):
        super().__init__(work, "rsync")
        self.port = free_port()
        config = self.place / "rsyncd.conf"
        user = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""
        config.write_text(f"use chroot = no\n{user}[into]\npath = {self.into}\nread only = no\n")
        self.start(
            ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={self.port}", "--address=127.0.0.1"]
        )
        wait_for_port(self.port)

    def command(self, source):
        return ["rsync", "--whole-file", str(source), f"rsync://127.0.0.1:{self.port}/into/"]


class Hikyaku(Case):
    def __init__(self, work, program, transport):
        super().__init__(work, f"hikyaku-{transport}")
        self.program, self.transport = program, transport
        self.description = f"**hikyaku over {transport.upper()}**"
        self.environment = os.environ | {"HIKYAKU_HOME": str(self.place / "home")}
        data = self.place / "data"
        self.start(
            [program, "serve", "--data", data, "--listen", "127.0.0.1:0", "--into", self.into],
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        said = {}
        while "ready" not in said:
            line = self.server.stdout.readline()
            if not line:
                sys.exit((self.place / "server.log").read_text())
            what, _, value = line.partition(": ")
            said[what] = value.strip()
        join = [program, "join", "-", "--name", "bench"]
        subprocess.run(join, input=said["invite"] + "\n", text=True, check=True, env=self.environment, stdout=sys.stderr)

    def command(self, source):
        return [str(self.program), "send", str(source), "--to", ":", "--transport", self.transport]


def make_file(path, mib):
    """Random bytes: nobody may compress them."""
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1024 * 1024))


def run_and_count(command, environment):
    """Runs a command to its end; its processor time, with what it started."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port):
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
