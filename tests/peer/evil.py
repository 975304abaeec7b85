"""A server in Python for the real program: honest unless a case says otherwise (`evil_cases.py`).

One thread accepts, one serves each connection. A case changes single answers, what is sent at the start, or the handshake.
"""

import functools
import os
import queue
import socket
import ssl
import threading
import time

import blake3
import cbor_profile
import client
import identity
import qmux
import session
import varint

S, cbor = session.frame, cbor_profile.encode
END = S(session.END)
ROOM, USER, TRANSFER = b"room" * 4, b"user" * 4, b"transfer" * 2
NAME, MTIME = "lab", 1_700_000_000_000
BYTES = bytes(range(256)) * 300  # the file: 76,800 bytes, two groups
GRANTS = qmux.OURS | {qmux.INITIAL_MAX_STREAMS_BIDI: 1 << 20}


def message(value) -> bytes:
    return S(session.MESSAGE, value if isinstance(value, bytes) else cbor(value))


def failure(code: int, retry: int = 0, text: str = "no", after: int | None = None, **more) -> bytes:
    return S(session.ERROR, cbor({0: code, 1: retry} | ({} if after is None else {2: after}) | {3: text}))


def envelope(seq: int, kind: int = 1, author: str = "eve") -> bytes:
    return cbor({0: kind, 1: USER, 2: author, 3: bytes(32), 4: seq.to_bytes(16, "big"), 5: MTIME, 6: seq})


def record(seq: int, body: bytes | None = None, kind: int = 1, author: str = "eve") -> bytes:
    body = f"message {seq}".encode() if body is None else body
    return cbor({0: envelope(seq, kind, author), 1: bytes(16), 2: body})


def head(last: int, room: bytes = ROOM, epoch: int = 1, first: int = 1, **more) -> dict:
    value = {0: room, 1: epoch, 2: first, 3: last, 4: last, 5: MTIME, 6: bytes(32)}
    return value | ({7: more["rewound"]} if "rewound" in more else {})


@functools.cache
def groups(data: bytes, offset: int = 0) -> bytes:
    size = blake3.GROUP
    return b"".join(blake3.group(offset + at, data[at : at + size]) for at in range(0, len(data), size))


def block(offset: int, content: bytes, /, **changes) -> bytes:
    """A block and its bytes; `offset`, `len`, `cvs` or `data` may be another's."""
    cvs = changes["cvs"] if "cvs" in changes else groups(content, offset)
    value = {1: changes.get("offset", offset), 2: changes.get("len", len(content)), 3: cvs}
    return message([0, value]) + S(session.DATA, changes.get("data", content))


def close(size: int, root: bytes) -> bytes:
    return message([1, {1: size, 2: root}])


ROOT = blake3.digest(BYTES)
FILE_HEAD = {0: TRANSFER, 1: b"data.bin", 2: 0, 3: len(BYTES), 4: ROOT}


class Guest:
    """One connection of the program, as the server sees it."""

    def __init__(self, server: "Evil", tls: ssl.SSLSocket):
        self.server, self.script, self.tls = server, server.script, tls
        self.mux = qmux.Connection(client=False, parameters=self.script.get("parameters", GRANTS))
        if self.script.get("stingy"):  # no credit beyond the first
            send = self.mux._send
            self.mux._send = lambda *frames: frames[0][0] in (qmux.MAX_DATA, qmux.MAX_STREAM_DATA) or send(*frames)
        self.readers: dict[int, session.FrameReader] = {}
        self.asked: dict[int, tuple[str, str]] = {}
        self.control: int | None = None
        self.state: dict = {}

    def serve(self) -> None:
        if first := self.script.get("first"):  # instead of parameters, or before them
            self.mux.take_output()
            self.raw(first(self))
        while self.mux.closed is None:
            self.flush()
            if not self.server.reads:
                time.sleep(0.05)
                continue
            data = self.tls.recv(1 << 16)
            if not data:
                return
            for event in self.mux.receive(data):
                self.event(event)
            if self.control is None and self.mux.theirs is not None:
                self.control = self.mux.open(unidirectional=True)
                self.mux.write(self.control, self.script.get("hello", HELLO))
                if start := self.script.get("start"):
                    start(self)
        self.flush()

    def flush(self) -> None:
        if output := self.mux.take_output():
            self.tls.sendall(output)

    def raw(self, data: bytes) -> None:
        """Bytes behind the back of the connection's rules."""
        self.flush()
        self.tls.sendall(data)

    def frames(self, *frames: bytes) -> None:
        self.raw(qmux.record(*frames))

    def say(self, stream: int, data: bytes, fin: bool = False) -> None:
        self.mux.write(stream, data, fin)

    def event(self, event) -> None:
        if isinstance(event, qmux.Closed):
            self.server.closes.append(event)
        if not isinstance(event, qmux.StreamBytes) or event.stream & 2:
            return
        reader = self.readers.setdefault(event.stream, session.FrameReader(lambda _: 1 << 26))
        for kind, payload in reader.push(event.data):
            if kind == session.OPEN:
                opened = cbor_profile.decode(payload)
                self.asked[event.stream] = asked = (opened[0], opened[1])
                self.server.asked.append(asked)
                self.answer(event.stream, "open")
            elif kind == session.MESSAGE:
                self.answer(event.stream, cbor_profile.decode(payload))
            elif kind == session.DATA:
                self.server.received += len(payload)
            elif kind == session.END:
                self.answer(event.stream, None)

    def answer(self, stream: int, value) -> None:
        """A message, or None at END, or "open" before all."""
        asked = self.asked.get(stream, ("", ""))
        changed = self.script.get("/".join(asked)) or self.script.get("*")
        if changed is not None:
            changed(self, stream, value)
        else:
            HONEST[asked](self, stream, value)


HELLO = b"\0" + S(session.HELLO, cbor({0: {0: 1 << 20, 1: 4_096, 2: 1_000}, 1: [], 2: "evil"}))


# --- what an honest server says --------------------------------------------------------------------------------------


def once(*frames: bytes, fin: bool = True):
    """An answer to the first message, whatever it asks."""

    def answer(guest: Guest, stream: int, value) -> None:
        if isinstance(value, (dict, list)) and stream not in guest.state:
            guest.state[stream] = True
            guest.say(stream, b"".join(frames), fin)

    return answer


def says(value):
    return once(message(value), END)


def history(guest: Guest, stream: int, value, last: int = 5) -> None:
    if isinstance(value, dict):
        begin = value.get(1, 1)
        records = [record(seq) for seq in range(begin, last + 1)]
        guest.say(stream, message({0: head(last), 1: begin, 2: records}) + END, True)


def sync(guest: Guest, stream: int, value, last: int = 7) -> None:
    if isinstance(value, dict):
        for cursor in value.get(0, []):
            begin = cursor[2]
            batch = {0: ROOM, 1: 1, 2: begin, 3: [record(seq) for seq in range(begin, last + 1)]}
            guest.say(stream, message({0: [head(last)], 2: [batch], 3: [{0: ROOM, 1: 1, 2: last}]}))


def get(guest: Guest, stream: int, value, file: dict = FILE_HEAD, parts: tuple[bytes, ...] | None = None) -> None:
    """A file of two groups; a case gives another head, or other blocks and another close."""
    if isinstance(value, dict):
        guest.say(stream, message(file))
    elif isinstance(value, list) and value[0] == 0:
        begin = value[1][1]
        honest = (block(begin, BYTES[begin:]), close(len(BYTES), ROOT))
        guest.say(stream, b"".join(honest if parts is None else parts))
    elif isinstance(value, list):
        guest.server.receipts += 1
        guest.say(stream, END, True)


def put(guest: Guest, stream: int, value, accept: dict | None = None, receipt: dict | None = None) -> None:
    if isinstance(value, dict):
        guest.state["transfer"] = value[0]
        guest.say(stream, message([0, {0: value[0], 1: 0} | (accept or {})]))
    elif isinstance(value, list) and value[0] == 1:
        said = value[1]
        whole = {0: guest.state["transfer"], 1: said[2], 2: said[1], 3: 2, 5: {0: NAME, 2: 6}}
        guest.say(stream, message([1, whole | (receipt or {})]) + END, True)


def nothing(guest: Guest, stream: int, value) -> None:
    """Never answers."""


HONEST = {
    ("accounts/1", "whoami"): says({0: USER, 1: "ana", 2: "pc", 3: "evil", 4: ["member"], 5: False}),
    ("accounts/1", "user.list"): says({0: [{0: USER, 1: "ana", 2: ["member"], 3: MTIME}]}),
    ("chat/1", "room.list"): says({0: [{0: NAME, 1: head(5)}]}),
    ("chat/1", "room.create"): says({0: {0: NAME, 1: head(0)}, 1: False}),
    ("chat/1", "resolve"): says({0: NAME, 1: head(5)}),
    ("chat/1", "send"): says({0: ROOM, 1: 1, 2: 6, 3: MTIME, 4: False}),
    ("chat/1", "history"): history,
    ("chat/1", "sync"): sync,
    ("enroll/1", "redeem"): says({0: USER, 1: "ana", 2: "pc", 3: "evil", 4: ["member"]}),
    ("files/1", "get"): get,
    ("files/1", "put"): put,
    ("files/1", "receipt.give"): says({0: 1}),
    ("files/1", "receipt.hands"): nothing,
    ("files/1", "quota"): nothing,
}


# --- the server itself -----------------------------------------------------------------------------------------------


class Evil:
    """Listens on the loopback; `script` says what is not honest."""

    def __init__(self, host: identity.Identity, guest: identity.Identity, script: dict):
        self.host, self.guest, self.script = script.get("host", host), guest, script
        self.asked: list[tuple[str, str]] = []
        self.closes: list[qmux.Closed] = []
        self.connections = self.received = self.receipts = 0
        self.met_certificate = False
        self.said: list[tuple[int, int]] = []
        self.reads = True
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listening.getsockname()[1]
        self.open: queue.SimpleQueue = queue.SimpleQueue()
        self.over = False
        threading.Thread(target=self.accept, daemon=True).start()

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = 0
        context.load_cert_chain(self.host.certificate, self.host.key)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= client.NO_CHECK_TIME | client.PARTIAL_CHAIN
        context.load_verify_locations(self.guest.certificate)
        context.set_alpn_protocols([client.ALPN])
        if change := self.script.get("tls"):
            change(context)
        return context

    def accept(self) -> None:
        while not self.over:
            try:
                plain, _ = self.listening.accept()
            except OSError:
                return
            self.connections += 1
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.put(plain)
            threading.Thread(target=self.meet, args=(plain,), daemon=True).start()

    def meet(self, plain: socket.socket) -> None:
        try:
            if raw := self.script.get("tcp"):  # instead of TLS
                raw(self, plain)
            else:
                with self.context().wrap_socket(plain, server_side=True) as tls:
                    self.met_certificate = True
                    Guest(self, tls).serve()
        except (OSError, ValueError, KeyError):
            pass  # the program went away, or was refused
        finally:
            plain.close()

    def stop(self) -> None:
        self.over = True
        self.listening.close()
        while not self.open.empty():
            try:
                self.open.get().shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def flight(server: Evil, plain: socket.socket) -> bytes:
    """Reads ClientHello and gives the server's whole first flight, unsent."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.context().wrap_bio(into, out, server_side=True)
    while True:
        into.write(plain.recv(1 << 16))
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            if flight := out.read():
                return flight


def wait(plain: socket.socket) -> None:
    """Says nothing more, until the program goes."""
    while plain.recv(1 << 16):
        pass


class Home:
    """A directory of the program's that knows the evil server, and one to work in."""

    def __init__(self, root: str, host: bytes, guest: identity.Identity, address: str, joined: bool):
        self.root, self.work = root, os.path.join(root, "work")
        self.hikyaku = os.path.join(root, "home")
        os.makedirs(os.path.join(self.work, "into"))
        shown = identity.show(host)
        place = ["servers", "evil"] if joined else ["joining", shown]
        self.directory = os.path.join(self.hikyaku, *place)
        os.makedirs(self.directory, mode=0o700)
        with open(guest.key) as key, open(guest.certificate) as certificate:
            with open(os.path.join(self.directory, "identity.pem"), "w", opener=private) as pem:
                pem.write(key.read() + certificate.read())
        if joined:
            known = '{"name":"evil","addresses":"%s","host":"%s","user":"ana","device":"pc"}'
            with open(os.path.join(self.directory, "server.json"), "w", opener=private) as file:
                file.write(known % (address, shown))
        self.link = f"hikyaku://{address}/#{shown}.{identity.show(bytes(8))}.{identity.show(bytes(16))}"

    def modes(self) -> set[int]:
        """The permissions of everything that was fetched."""
        into = os.path.join(self.work, "into")
        return {os.stat(os.path.join(into, name)).st_mode & 0o7777 for name in os.listdir(into)}

    def files(self) -> set[str]:
        """Everything outside of the program's own home."""
        found = set()
        for place, directories, names in os.walk(self.root):
            if place == self.root:
                directories.remove("home")
            found |= {os.path.relpath(os.path.join(place, name), self.root) for name in names + directories}
        return found


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def drip(guest: Guest, data: bytes, pause: float) -> None:
    """One byte at a time, until it is all gone or the program is."""
    guest.flush()
    for at in range(len(data)):
        guest.tls.sendall(data[at : at + 1])
        time.sleep(pause)


def flood(guest: Guest, data: bytes, seconds: float) -> None:
    """The same bytes for so long, read or not."""
    guest.flush()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        guest.tls.sendall(data)


_ = varint
