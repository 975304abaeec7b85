"""Ways to send a file or a tree into a directory: each a client command, and perhaps a server that is started for it."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time


class Ends:
    """Where clients and servers run: here by default, or each behind a prefix such as `ip netns exec NAME`."""

    def __init__(self, address="127.0.0.1", client=(), server=()):
        self.address, self.client, self.server = address, list(client), list(server)


class Case:
    """One way to send: `command(source)` is the client's, without the prefix of its end."""

    environment = None

    def __init__(self, work, name, ends):
        self.ends = ends
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
            command = [*self.ends.server, *map(str, command)]
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

    def __init__(self, work, ends):
        super().__init__(work, "cp", ends)

    def command(self, source):
        return ["cp", "-r", str(source), str(self.into)]


class Ssh(Case):
    """A sshd of its own, with keys of its own."""

    def __init__(self, work, name, ends):
        super().__init__(work, name, ends)
        self.port = free_port()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.place / key], check=True)
        shutil.copy(self.place / "user.pub", self.place / "authorized")
        config = self.place / "sshd_config"
        config.write_text(
            f"ListenAddress {ends.address}\nPort {self.port}\nHostKey {self.place}/host\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {self.place}/authorized\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            "UseDNS no\nSubsystem sftp internal-sftp\n"
        )
        if os.getuid() == 0:
            # Where sshd's unprivileged half is locked up; Debian makes it when the service starts.
            os.makedirs("/run/sshd", exist_ok=True)
        # sshd insists on an absolute path.
        self.start([shutil.which("sshd", path="/usr/sbin:" + os.environ["PATH"]), "-D", "-e", "-f", config])
        wait_for_port(self.port, ends)

    def options(self):
        trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return ["-c", "aes128-gcm@openssh.com", "-i", f"{self.place}/user", "-o", "IdentitiesOnly=yes", "-F", "none", *trust]


class Scp(Ssh):
    description = "scp, aes128-gcm"

    def __init__(self, work, ends):
        super().__init__(work, "scp", ends)

    def command(self, source):
        return ["scp", "-rpq", "-P", str(self.port), *self.options(), str(source), f"{self.ends.address}:{self.into}/"]


class RsyncSsh(Ssh):
    description = "rsync over ssh, aes128-gcm"

    def __init__(self, work, ends):
        super().__init__(work, "rsync-ssh", ends)

    def command(self, source):
        shell = " ".join(["ssh", "-p", str(self.port), *self.options()])
        return ["rsync", "-a", "--whole-file", "-e", shell, str(source), f"{self.ends.address}:{self.into}/"]


class TarSsh(Ssh):
    description = "tar over ssh, aes128-gcm"

    def __init__(self, work, ends):
        super().__init__(work, "tar-ssh", ends)

    def command(self, source):
        ssh = " ".join(["ssh", "-p", str(self.port), *self.options(), self.ends.address])
        return ["sh", "-c", f"tar -C {source.parent} -cf - {source.name} | {ssh} tar -C {self.into} -xf -"]


class Rsync(Case):
    description = "rsync daemon, not encrypted"

    def __init__(self, work, ends):
        super().__init__(work, "rsync", ends)
        self.port = free_port()
        config = self.place / "rsyncd.conf"
        user = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""
        config.write_text(f"use chroot = no\n{user}[into]\npath = {self.into}\nread only = no\n")
        self.start(
            ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={self.port}", f"--address={ends.address}"]
        )
        wait_for_port(self.port, ends)

    def command(self, source):
        return ["rsync", "-a", "--whole-file", str(source), f"rsync://{self.ends.address}:{self.port}/into/"]


BARE_SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    connection = listener.accept()[0]
    with connection, open(sys.argv[3], 'wb') as file:
        buffer = bytearray(1 << 18)
        while length := connection.recv_into(buffer):
            file.write(memoryview(buffer)[:length])
        connection.sendall(b'!')
"""
BARE_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection, open(sys.argv[3], 'rb') as file:
    connection.sendfile(file)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(1) == b'!'
"""


class Bare(Case):
    """What a link and the system carry without encryption, verification or names: one file only."""

    description = "a bare TCP connection"

    def __init__(self, work, ends):
        super().__init__(work, "bare", ends)
        self.port = free_port()
        self.start([sys.executable, "-c", BARE_SERVER, ends.address, self.port, self.into / "source"])
        wait_for_port(self.port, ends)

    def command(self, source):
        return [sys.executable, "-c", BARE_CLIENT, self.ends.address, str(self.port), str(source)]


class Hikyaku(Case):
    def __init__(self, work, ends, program, transport):
        super().__init__(work, f"hikyaku-{transport}", ends)
        self.program, self.transport = program, transport
        self.description = f"**hikyaku over {transport.upper()}**"
        self.environment = os.environ | {"HIKYAKU_HOME": str(self.place / "home")}
        data = self.place / "data"
        self.start(
            [program, "serve", "--data", data, "--listen", f"{ends.address}:0", "--into", self.into],
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
        join = [*ends.client, program, "join", "-", "--name", "bench"]
        subprocess.run(join, input=said["invite"] + "\n", text=True, check=True, env=self.environment, stdout=sys.stderr)

    def command(self, source):
        return [str(self.program), "send", str(source), "--to", ":", "--transport", self.transport]


def makers(work, program, ends):
    """How each case is made, by its name."""
    return {
        "cp": lambda: Copy(work, ends),
        "scp": lambda: Scp(work, ends),
        "rsync": lambda: Rsync(work, ends),
        "rsync-ssh": lambda: RsyncSsh(work, ends),
        "tar-ssh": lambda: TarSsh(work, ends),
        "bare": lambda: Bare(work, ends),
        "hikyaku-tcp": lambda: Hikyaku(work, ends, program, "tcp"),
        "hikyaku-quic": lambda: Hikyaku(work, ends, program, "quic"),
    }


MIB = 1 << 20
PAGE = 4096


@contextlib.contextmanager
def memory_at_hand(directory, size):
    """So much memory for what is written to a memory file system below `directory`, which the machine keeps as long as this lasts.

    A virtual machine may give memory that is free back to its host, and gets it again page by page, at up to six times the price of a
    copy: then whoever fills memory that lay free for two seconds pays for it, and not for the copy. What goes back are large free
    blocks. So all of it is written to once, and then freed but for one page of each MiB.
    """
    kind = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=True).stdout.strip()
    size = size if kind == "tmpfs" else 0
    freed, kept = (pathlib.Path(directory) / name for name in ("memory-freed", "memory-kept"))
    with open(freed, "wb", buffering=0) as most, open(kept, "wb", buffering=0) as few:
        for _ in range(size // MIB):
            most.write(bytes(MIB - PAGE))
            few.write(bytes(PAGE))
    freed.unlink()
    yield
    kept.unlink()


def make_file(path, mib):
    """Random bytes: nobody may compress them."""
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1024 * 1024))


def make_tree(path, files, size=4096, a_directory=100):
    """So many files of random bytes, a hundred in each directory."""
    for at in range(files):
        directory = path / f"{at // a_directory:04}"
        if at % a_directory == 0:
            directory.mkdir(parents=True)
        (directory / f"{at % a_directory:02}").write_bytes(os.urandom(size))


def run_and_count(case, source):
    """Sends to the end; the processor time of the command, with what it started."""
    command = [*case.ends.client, *case.command(source)]
    process = subprocess.Popen(command, env=case.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port, ends):
    """Asked from the client's end, which may be another network namespace."""
    ask = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
    for _ in range(100):
        asked = [*ends.client, sys.executable, "-c", ask, ends.address, str(port)]
        if subprocess.run(asked, stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")
