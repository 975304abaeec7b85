"""For the tests: a real server, and a peer that writes whatever bytes it is told to."""

import os
import pathlib
import subprocess
import tempfile
import time

import client
import identity
import qmux
import session
import varint

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = os.path.abspath(os.environ.get("HIKYAKU_BIN") or ROOT / "target" / "debug" / "hikyaku")


class Server:
    """`hikyaku serve` on a free port of the loopback, in a directory of its own, and one enrolled device."""

    def __init__(self):
        self.home = tempfile.TemporaryDirectory(prefix="hikyaku-peer-")
        self.data = os.path.join(self.home.name, "data")
        arguments = [PROGRAM, "serve", "--data", self.data, "--listen", "127.0.0.1:0"]
        self.log = open(os.path.join(self.home.name, "log"), "wb")
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=self.log, env=self.environment("server"))
        printed = {}
        while "ready" not in printed:
            line = self.process.stdout.readline().decode()
            assert line, f"the server ended; see {self.log.name}"
            key, _, value = line.strip().partition(": ")
            printed[key] = value
        self.link = printed["invite"]
        _, self.host_id, _, _ = identity.parse_link(self.link)
        host, _, port = printed["ready"].rpartition(":")
        self.address = (host, int(port))
        self.device = self.new_device("device")
        client.enrol(self.link, self.device, "ana", "peer")
        self.pinned = client.pin(self.address, self.host_id)

    def environment(self, who: str) -> dict[str, str]:
        home = os.path.join(self.home.name, who)
        os.makedirs(home, exist_ok=True)
        return {"PATH": os.environ["PATH"], "HOME": home}

    def new_device(self, name: str) -> identity.Identity:
        return identity.Identity(os.path.join(self.home.name, name))

    def connect(self, device: identity.Identity | None = None) -> client.Client:
        return client.Client(self.address, self.host_id, device or self.device, self.pinned)

    def run(self, who: str, *arguments: str, stdin: str = "") -> str:
        """The program itself, as somebody with a home of their own."""
        done = subprocess.run(
            [PROGRAM, *arguments], input=stdin, env=self.environment(who), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def descriptors(self, settled: bool = False) -> int:
        """How many it has open; `settled`: once there are no fewer than a moment before."""
        count = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        if settled:
            time.sleep(0.5)
            return min(count, self.descriptors())
        return count

    def resident_kib(self) -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        self.process.stdout.close()
        self.log.close()
        self.home.cleanup()


class Listener(qmux.Connection):
    """Reads what a server says to somebody who opens streams and pings behind its back."""

    def __init__(self):
        super().__init__()
        self.pinged = varint.MAX

    def _known(self, stream: int) -> qmux.Stream:
        return self.streams.setdefault(stream, self._new(stream))


class Raw:
    """A TLS connection on which everything that is sent is made by hand."""

    def __init__(self, server: Server, device: identity.Identity | None = None):
        self.socket = client.connect_tls(server.address, server.pinned, device or server.device)
        self.listener = Listener()
        self.listener.take_output()
        self.read: dict[int, bytearray] = {}  # what arrived, by stream
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.pings: set[int] = set()
        self.closed: qmux.Closed | None = None
        self.lost = self.deaf = False
        self.offsets: dict[int, int] = {}

    def write(self, data: bytes) -> bool:
        """False when the server may have closed already (what it said is still to be read), or takes nothing."""
        if self.deaf:
            return False
        try:
            self.socket.sendall(data)
        except OSError:
            self.deaf = True
        return not self.deaf

    def frames(self, *frames: bytes) -> None:
        self.write(qmux.record(*frames))

    def stream(self, stream: int, data: bytes, fin: bool = False) -> None:
        """Bytes of a stream, in order, in as many records as they need; waits for credit if it has to."""
        for begin in range(0, max(len(data), 1), 16_000):
            piece = data[begin : begin + 16_000]
            total = sum(self.offsets.values()) + len(piece)
            if total > 16_000:
                self.until(lambda: self.listener.send_limit >= total)
            offset = self.offsets.get(stream, 0)
            self.offsets[stream] = offset + len(piece)
            self.frames(qmux.stream_frame(stream, offset, piece, fin and begin + len(piece) == len(data)))

    def until(self, condition, timeout: float = 10) -> bool:
        """Reads until the condition holds or the connection is over."""
        while not condition() and not self.over():
            self.socket.settimeout(timeout)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                return False
            except OSError:
                data = b""
            self.lost = not data
            for event in self.listener.receive(data):
                if isinstance(event, qmux.StreamBytes):
                    self.read.setdefault(event.stream, bytearray()).extend(event.data)
                    self.ended |= {event.stream} if event.fin else set()
                elif isinstance(event, qmux.StreamReset):
                    self.resets[event.stream] = event.code
                elif isinstance(event, qmux.StreamStopped):
                    self.stops[event.stream] = event.code
                elif isinstance(event, qmux.Pong):
                    self.pings.add(event.number)
                elif isinstance(event, qmux.Closed):
                    self.closed = event
        return condition()

    def over(self) -> bool:
        return self.lost or self.closed is not None

    def answer(self, stream: int) -> list[tuple[int, bytes]]:
        """The frames the server has sent on an exchange."""
        return session.FrameReader(lambda _: 1 << 24).push(bytes(self.read.get(stream, b"")))

    def finished(self, stream: int) -> bool:
        return stream in self.ended or stream in self.resets

    def start(self, hello: bytes | None = None) -> None:
        """Transport parameters and HELLO, and the wait for the server's."""
        self.write(qmux.record(qmux.encode_parameters(qmux.OURS)))
        self.stream(2, control(hello))
        self.until(lambda: self.listener.theirs is not None and bool(self.read.get(3)))

    def granted(self, streams: int) -> bool:
        return self.until(lambda: self.listener.may_open[0] >= streams)

    def lives(self, stream: int) -> bool:
        """Whether an ordinary exchange still succeeds; `stream` must be new."""
        if not self.granted((stream >> 2) + 1):
            return False
        self.stream(stream, request("accounts/1", "whoami", {}), fin=True)
        self.until(lambda: self.finished(stream))
        return [kind for kind, _ in self.answer(stream)] == [session.MESSAGE, session.END]

    def pongs(self, number: int = varint.MAX) -> bool:
        """Whether a ping is answered: what can be asked when no exchange is left."""
        self.frames(qmux.frame(qmux.PING, number))
        return self.until(lambda: number in self.pings)

    def close(self) -> None:
        self.socket.close()


class Watched:
    """Tests against one server, which must have given back after each what it held for it: descriptors all, memory but for a
    little. What a server may hold at any time afterwards is `GROWTH_KIB` more than after its first connection."""

    GROWTH_KIB = 24 << 10

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        first = Raw(cls.server)
        first.start()
        first.lives(0)
        first.close()
        cls.most_kib = cls.at_first_kib = cls.server.resident_kib()
        cls.descriptors = cls.server.descriptors(settled=True)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        print(f"\n{cls.__name__}: {cls.at_first_kib >> 10} MiB at first, {cls.most_kib >> 10} MiB at most after a case")

    def setUp(self):
        self.addCleanup(self.given_back)  # the first is called last: behind everything that a test closes

    def given_back(self):
        give_up = time.monotonic() + 15
        while (held := self.server.descriptors()) > self.descriptors and time.monotonic() < give_up:
            time.sleep(0.002)
        self.assertLessEqual(held, self.descriptors, "descriptors that were not given back")
        resident = self.server.resident_kib()
        type(self).most_kib = max(self.most_kib, resident)
        self.assertLess(resident, self.at_first_kib + self.GROWTH_KIB, "KiB of memory that were not given back")

    def raw(self, device=None) -> "Raw":
        """A connection that has said HELLO and may open two exchanges."""
        raw = Raw(self.server, device)
        raw.start()
        raw.granted(1 if device else 2)
        return raw


HELLO = session.cbor_profile.encode({0: {0: 65_536, 1: 4_096, 2: 1_000}, 1: [], 2: "hostile"})


def control(hello: bytes | None = None) -> bytes:
    return varint.encode(session.CONTROL_STREAM) + session.frame(session.HELLO, HELLO if hello is None else hello)


def opening(protocol: str, method: str, more: dict | None = None) -> bytes:
    return session.frame(session.OPEN, session.cbor_profile.encode({0: protocol, 1: method} | (more or {})))


def request(protocol: str, method: str, message) -> bytes:
    """All of a caller's half."""
    payload = session.cbor_profile.encode(message)
    return opening(protocol, method) + session.frame(session.MESSAGE, payload) + session.frame(session.END)
