"""What an evil server does, and how the program must end: a table for `test_evil.py`.

The exit codes are those of the program's documentation: 1 failure, 3 unreachable, 4 identity refused, 5 denied, 6 not found,
7 corrupt, 8 full, 9 outcome unknown, 11 timeout or limit. A message that the server may have taken must wait in the outbox.
"""

import functools
import socket
import struct
import time
from dataclasses import dataclass, field

import evil
import qmux
import session
import varint
from evil import BYTES, END, FILE_HEAD, HELLO, MTIME, NAME, ROOM, ROOT, S, block, cbor, close, head, message, once, record, says

HOSTILE_TEXT = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066\r\nhikyaku: all is well\x9b31m"
MANY = 9_007_199_254_740_991


@dataclass
class Case:
    command: list[str]
    script: dict
    exit: int | set[int]
    says: str = ""  # what standard error must match
    prints: str | None = None  # what standard output must match, from its beginning
    bound: float = 20  # seconds until the program has to be over
    waiting: int | None = None  # messages in the outbox afterwards
    lasts: float | None = None  # the command goes on for ever: it is ended after this time
    leaves: set = field(default_factory=set)  # what stands in the directory that files go to
    calm: bool = True  # whether the server is asked only a few times


STATUS = ["status"]
SAY = ["say", NAME, "hello", "--timeout", "3s"]
TAIL = ["tail", NAME, "--after", "0"]
FOLLOW = ["tail", NAME, "-f", "--after", "5"]
GET = ["get", "#lab:2", "--into", "into"]
SEND = ["send", "file", "--to", "#lab"]
JOIN = ["join", "--name", "ana", "--device", "pc", "-"]
LIST = ["room", "list"]

CASES: dict[str, Case] = {}


def case(name: str, *arguments, **named) -> None:
    assert name not in CASES, name
    CASES[name] = Case(*arguments, **named)


# --- before there is a connection --------------------------------------------------------------------------------------


def tcp(act):
    """What happens instead of TLS."""
    return {"tcp": lambda server, plain: act(server, plain)}


def answering(data: bytes, stay: bool = False):
    def act(server, plain):
        plain.recv(1 << 16)
        plain.sendall(data)
        if stay:
            evil.wait(plain)

    return tcp(act)


def cut(part: float, stay: bool = False):
    """The server's first flight, up to there."""

    def act(server, plain):
        flight = evil.flight(server, plain)
        plain.sendall(flight[: int(len(flight) * part) - (part == 1)])
        if stay:
            evil.wait(plain)

    return tcp(act)


def slow_flight(server, plain):
    for byte in evil.flight(server, plain):
        plain.sendall(bytes([byte]))
        time.sleep(0.1)


def reset(server, plain):
    plain.recv(1 << 16)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


case("hangs up at once", STATUS, tcp(lambda server, plain: None), 3, "could be reached")
case("hangs up after ClientHello", STATUS, tcp(lambda server, plain: plain.recv(1 << 16)), 3, "could be reached")
case("resets after ClientHello", STATUS, tcp(reset), 3, "could be reached")
case("silence instead of ServerHello", STATUS, tcp(lambda server, plain: evil.wait(plain)), 3, "could be reached")
case("an answer in HTTP", STATUS, answering(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"\x1b[2J" * 99), 3, "TLS")
case("an answer in SSH", STATUS, answering(b"SSH-2.0-OpenSSH_9.9\r\n", stay=True), 3)
case("bytes of nothing", STATUS, answering(bytes(range(256)) * 64), 3, "TLS")
case("an alert", STATUS, answering(b"\x15\x03\x03\0\x02\x02\x50"), 3, "TLS")
case("a TLS record of 64 KiB", STATUS, answering(b"\x16\x03\x03\xff\xff" + bytes(65_535), stay=True), 3)
for part, where in ((0.25, "a quarter"), (0.5, "half"), (0.75, "three quarters"), (1, "all but a byte")):
    case(f"{where} of the server's flight", STATUS, cut(part), 3, "could be reached")
case("half of the server's flight and silence", STATUS, cut(0.5, stay=True), 3, "could be reached")
case("the server's flight byte by byte", STATUS, tcp(slow_flight), 3, "could be reached")


def tls(change, **script):
    return {"tls": change} | script


def older(context):
    context.maximum_version = evil.ssl.TLSVersion.TLSv1_2


case("TLS 1.2 only", STATUS, tls(older), 3, "TLS")
case("no application protocol", STATUS, tls(lambda context: context.set_alpn_protocols([])), 3, "protocol")
case("another application protocol", STATUS, tls(lambda context: context.set_alpn_protocols(["h2"])), 3, "protocol")
for command in (STATUS, SAY, TAIL, GET, SEND, JOIN):
    case(f"another host key, {command[0]}", command, {"host": "impostor"}, 4, "another host answered", waiting=0)
case("a host key of RSA", STATUS, {"host": "rsa"}, {3, 4})
case("a host key of P-256", STATUS, {"host": "p256"}, {3, 4})
case("a chain of two certificates", STATUS, {"host": "chain"}, {3, 4})


# --- streams -----------------------------------------------------------------------------------------------------------

F, PARAMETERS = qmux.frame, qmux.encode_parameters(evil.GRANTS)


def first(*frames: bytes, more: bytes = b""):
    """What comes instead of parameters and HELLO."""
    return {"first": lambda guest: qmux.record(*frames) + more}


def granting(*changes):
    """Other parameters of the transport, and never more than they grant."""
    return {"parameters": evil.GRANTS | dict(changes), "stingy": True}


def start(*frames: bytes):
    """What comes behind HELLO."""
    return {"start": lambda guest: guest.frames(*frames)}


def bye(kind: int, code: int, reason: str = ""):
    return start(qmux.close_frame(kind, code, reason.encode()))


LOST = {1, 3}
case("nothing after TLS", STATUS, {"first": lambda guest: evil.wait(guest.tls) or b""}, LOST)
case("the end after TLS", STATUS, {"first": lambda guest: guest.tls.unwrap() and b""}, LOST)
case("the end of TCP after TLS", STATUS, {"first": lambda guest: guest.tls.shutdown(2) or b""}, LOST)
case("TLS broken after the handshake", STATUS, {"first": lambda guest: socket.socket(fileno=guest.tls.detach()).sendall(b"\x17\x03\x03\0\x20" + bytes(32)) or b""}, LOST)
case("no parameters but PADDING", STATUS, first(bytes(9)), LOST)
case("no parameters but a stream", STATUS, first(qmux.stream_frame(3, 0, HELLO)), LOST)
case("parameters twice", STATUS, first(PARAMETERS, PARAMETERS), LOST)
case("a forbidden parameter", STATUS, first(qmux.encode_parameters([(0x0A, 1)])), LOST)
case("a parameter cut off", STATUS, first(F(qmux.TRANSPORT_PARAMETERS, 2) + b"\4\5"), LOST)
case("a record of 16383 bytes", STATUS, first(PARAMETERS, more=varint.encode(16_383) + bytes(16_383)), LOST)
case("a record of 2^62 - 1 bytes", STATUS, first(PARAMETERS, more=varint.encode(varint.MAX)), LOST)
case("an empty record", STATUS, first(PARAMETERS, more=b"\0"), LOST)
case("a forbidden frame", STATUS, start(F(0x06, 0, 0)), LOST)
case("a gap in a stream", STATUS, start(qmux.stream_frame(7, 5, b"x")), LOST)
case("a stream of the client's that is not open", STATUS, start(qmux.stream_frame(400, 0, b"x")), LOST)
case("bytes on the client's own stream", STATUS, start(qmux.stream_frame(2, 0, b"x")), LOST)
case("a stream beyond the limit", STATUS, start(qmux.stream_frame(1 | 1 << 40, 0, b"x")), LOST)
case("a reset with more than the credit", STATUS, start(F(qmux.RESET_STREAM, 1, 0, varint.MAX)), LOST)
case("an answer to no ping", STATUS, start(F(qmux.PONG, 5)), LOST)
case("pings that fall", STATUS, start(F(qmux.PING, 5), F(qmux.PING, 4)), LOST)
case("a datagram with half a number", STATUS, start(F(0x31, 1) + b"\x40"), LOST)
case("a close that means nothing", STATUS, bye(0x1D, 0), LOST, "clos")
case("a close with a hostile reason", STATUS, bye(0x1D, 2, HOSTILE_TEXT), LOST, r"\\u\{1b\}")
case("a close of the transport", STATUS, bye(0x1C, 0xA, HOSTILE_TEXT), LOST)
case("a close with a code nobody knows", STATUS, bye(0x1D, varint.MAX), LOST)
case("a close because of the identity", STATUS, bye(0x1D, 8), 4)
case("a close because it is revoked", STATUS, bye(0x1D, 9), 4, "join")
case("a close because it goes away", STATUS, bye(0x1D, 0xB), 3)
case("no exchange is permitted, status", STATUS, granting((qmux.INITIAL_MAX_STREAMS_BIDI, 0)), 11, bound=50)
case("no exchange is permitted, say", SAY, granting((qmux.INITIAL_MAX_STREAMS_BIDI, 0)), {3, 11}, waiting=0)
case("no credit is given, status", STATUS, granting((qmux.INITIAL_MAX_DATA, 100)), 11, bound=50)
case("no credit is given, say", SAY, granting((qmux.INITIAL_MAX_DATA, 120)), {3, 9, 11})
case("no credit is given, send", SEND, granting((qmux.BIDI_REMOTE, 400)), 11, "again", bound=80)
case("no credit for HELLO", STATUS, granting((qmux.UNI, 5)), {0, *LOST})
case("no stream for HELLO", STATUS, granting((qmux.INITIAL_MAX_STREAMS_UNI, 0)), {0, *LOST})


def flooding(data: bytes, seconds: float = 3):
    return {"start": lambda guest: evil.flood(guest, data, seconds)}


def pings(guest):
    for begin in range(0, 200_000, 1_000):
        guest.raw(qmux.record(*(F(qmux.PING, number) for number in range(begin, begin + 1_000))))


case("200,000 pings", STATUS, {"start": pings}, {0, *LOST})
case("a flood of padding", STATUS, flooding(qmux.record(bytes(16_000)) * 4), {0, *LOST})
case("a flood of credit", STATUS, flooding(qmux.record(F(qmux.MAX_DATA, 5) * 4_000)), {0, *LOST})
case("a flood of datagrams of nobody", STATUS, flooding(qmux.record((F(0x31, 1_000) + varint.encode(9) + bytes(999)) * 16)), {0, *LOST})


def openings(guest):
    """As many exchanges as the client permits, and each asks for something."""
    opening = S(session.OPEN, cbor({0: "chat/1", 1: "send"}))
    while (stream := guest.mux.open()) is not None:
        guest.say(stream, opening)


def kinds(guest):
    while (stream := guest.mux.open(unidirectional=True)) is not None:
        guest.say(stream, b"\x21" + bytes(9_000))


case("1,000 exchanges of the server's", STATUS, {"start": openings}, {0, *LOST})
case("streams of unknown kinds", STATUS, {"start": kinds}, 0)


# --- the session -------------------------------------------------------------------------------------------------------


def greeting(value, **more):
    return {"hello": b"\0" + S(session.HELLO, value if isinstance(value, bytes) else cbor(value))} | more


LIMITS = {0: 1 << 20, 1: 4_096, 2: 1_000}
case("no HELLO", STATUS, {"hello": b""}, LOST)
case("grease for ever and no HELLO", STATUS, {"hello": b"\0" + S(0x21, bytes(999)), "start": lambda guest: evil.flood(guest, b"", 1)}, LOST)
case("HELLO twice", STATUS, {"hello": HELLO + HELLO[1:]}, LOST)
case("GOAWAY before HELLO", STATUS, {"hello": b"\0" + S(session.GOAWAY, cbor({0: 0, 1: 0, 2: ""}))}, LOST)
case("HELLO that is empty", STATUS, greeting(b""), LOST)
case("HELLO off the profile", STATUS, greeting(b"\xbf\xff"), LOST)
case("HELLO of 2049 bytes", STATUS, greeting({0: LIMITS, 1: [], 2: "", 99: bytes(2_030)}), {0, *LOST})  # S3.13: it may be taken
case("HELLO with the highest limits", STATUS, greeting({0: dict.fromkeys(range(3), MANY), 1: [], 2: ""}), 0)
case("HELLO with limits of 0, status", STATUS, greeting({0: dict.fromkeys(range(3), 0), 1: [], 2: ""}), {0, 1, 11})
case("HELLO with limits of 0, say", SAY, greeting({0: dict.fromkeys(range(3), 0), 1: [], 2: ""}), {1, 11}, waiting=0)
case("HELLO with a hostile agent", STATUS, greeting({0: LIMITS, 1: [], 2: HOSTILE_TEXT}), 0)
case("HELLO with 65 extensions", STATUS, greeting({0: LIMITS, 1: list(range(65)), 2: ""}), LOST)
case("HELLO byte by byte, a second each", STATUS, {"hello": b"", "start": lambda guest: [guest.frames(qmux.stream_frame(3, at, HELLO[at : at + 1])) or time.sleep(1) for at in range(len(HELLO))]}, LOST)
case("the control stream ends", STATUS, {"start": lambda guest: guest.say(3, b"", True)}, {0, *LOST})
case("the control stream is reset", STATUS, start(F(qmux.RESET_STREAM, 3, 0, len(HELLO))), {0, *LOST})
case("STOP_SENDING for the client's control stream", STATUS, start(F(qmux.STOP_SENDING, 2, 0x41)), {0, *LOST})
case("a second control stream", STATUS, start(qmux.stream_frame(7, 0, HELLO)), {0, *LOST})
case("MESSAGE on the control stream", STATUS, {"start": lambda guest: guest.say(3, message({}))}, {0, *LOST})
GOAWAY = S(session.GOAWAY, cbor({0: 0xB, 1: 0, 2: HOSTILE_TEXT}))
for command, exits in ((STATUS, {0, 3}), (SAY, {0, 3}), (TAIL, {0, 3}), (JOIN, {0, 3})):  # 0: it was faster
    case(f"GOAWAY at once, {command[0]}", command, {"hello": HELLO + GOAWAY}, exits, waiting=0)
case("a storm of GOAWAY", STATUS, {"hello": HELLO + GOAWAY * 2_000}, {0, 3})
case("GOAWAY in every answer", SAY, {"chat/1/send": lambda guest, stream, value: guest.say(3, GOAWAY) or evil.HONEST["chat/1", "send"](guest, stream, value)}, 0, prints="#lab:6")
case("GOAWAY and no answer", SAY, {"chat/1/send": lambda guest, stream, value: guest.say(3, GOAWAY)}, 9, "may or may not", waiting=1)


# --- answers -----------------------------------------------------------------------------------------------------------

ASKS = {"status": (STATUS, "accounts/1/whoami"), "list": (LIST, "chat/1/room.list"), "join": (JOIN, "enroll/1/redeem"), "tail": (TAIL, "chat/1/history")}


def answer(name: str, command: list[str], method: str, act, exits, says="", **more) -> None:
    case(f"{name}, {' '.join(command[: 1 + (command[0] == 'room')])}", command, {method: act}, exits, says, **more)


SENT = message({0: ROOM, 1: 1, 2: 6, 3: MTIME, 4: False})
UNSURE = {"waiting": 1}
for name, frames in {
    "no END": (SENT, True),
    "no END and no end": (SENT, False),
    "an empty stream": (b"", True),
    "half a message": (SENT[:-2], True),
    "half a message and no end": (SENT[:-2], False),
    "END alone": (END, True),
    "two answers": (SENT + SENT + END, True),
    "DATA for an answer": (S(session.DATA, b"x") + END, True),
    "an answer off the profile": (message(b"\xbf\xff") + END, True),
    "an answer that is an array": (message([]) + END, True),
    "an answer without a number": (message({0: ROOM, 1: 1, 3: 5, 4: False}) + END, True),
    "an answer 17 deep": (message(b"\x81" * 17 + b"\0") + END, True),
    "an answer that claims 2^32 items": (message(b"\x9a\xff\xff\xff\xff") + END, True),
    "a message after END": (SENT + END + SENT, True),
    "OPEN for an answer": (S(session.OPEN, cbor({0: "chat/1", 1: "send"})), True),
    "HELLO for an answer": (HELLO[1:], True),
    "an answer beyond the limit": (varint.encode(session.MESSAGE) + varint.encode(1 << 30), False),
    "an answer in a long form": (varint.encode_in(session.MESSAGE, 8) + SENT[1:] + END, True),
    "an unknown frame of 2^62 - 1 bytes": (varint.encode(0x21) + varint.encode(varint.MAX), False),
}.items():
    answer(name, SAY, "chat/1/send", once(*frames[:1], fin=frames[1]), 9, "may or may not", **UNSURE)
    if name not in ("a message after END", "two answers"):
        slow = 50 if not frames[1] else 20
        answer(name, STATUS, "accounts/1/whoami", once(*frames[:1], fin=frames[1]), {1, 11}, bound=slow)
case("an answer for another room", SAY, {"chat/1/send": says({0: b"other" * 3 + b"!", 1: 1, 2: 6, 3: MTIME, 4: False})}, {0, 9})
case("an answer with the highest number", SAY, {"chat/1/send": says({0: ROOM, 1: 1, 2: MANY, 3: MANY, 4: True})}, 0, prints="#lab:9007199254740991")
case("an answer with the highest time", [*SAY, "--json"], {"chat/1/send": says({0: ROOM, 1: 2**32 - 1, 2: 1, 3: MANY, 4: True})}, 0)

for command, method in ASKS.values():
    answer("never answering", command, method, evil.nothing, 11, bound=50)
answer("never answering", SAY, "chat/1/send", evil.nothing, 9, "may or may not", **UNSURE)
answer("never answering", GET, "files/1/get", evil.nothing, 11, bound=80)
answer("never answering", SEND, "files/1/put", evil.nothing, 11, "again", bound=80)
answer("never answering", ["room", "create", "new"], "chat/1/room.create", evil.nothing, 11, bound=50)
answer("never answering", ["chat", NAME], "chat/1/send", evil.nothing, 9, "may or may not", bound=80, waiting=1)


def late(guest, stream, value):
    if value is not None:
        guest.flush()
        time.sleep(4)
        evil.HONEST["chat/1", "send"](guest, stream, value)


def dripping(guest, stream, value):
    if isinstance(value, dict):
        whole = SENT + END
        for at in range(len(whole)):
            guest.say(stream, whole[at : at + 1])
            guest.flush()
            time.sleep(0.5)


answer("an answer after the time is over", SAY, "chat/1/send", late, 9, "may or may not", **UNSURE)
answer("an answer byte by byte", SAY, "chat/1/send", dripping, 9, "may or may not", **UNSURE)
answer("an answer byte by byte", STATUS, "accounts/1/whoami", dripping, {1, 11}, bound=50)


def endless(guest, stream, value):
    if isinstance(value, dict):
        guest.say(stream, S(0x21, bytes(60_000)) * 200)


answer("unknown frames for ever", STATUS, "accounts/1/whoami", lambda g, s, v: g.state.setdefault("go", True) and [endless(g, s, v) for _ in range(8)], 11, bound=50)


def resetting(code: int, stop: bool = False):
    def act(guest, stream, value):
        if value == "open":
            guest.mux.reset(stream, code)
            if stop:
                guest.mux.stop(stream, code)

    return act


def stopping(code: int):
    return lambda guest, stream, value: guest.mux.stop(stream, code) if value == "open" else None


for code, name in ((0x41, "CANCELLED"), (0x44, "TRUNCATED"), (0x45, "STREAM_DEADLINE"), (0, "NO_ERROR"), (varint.MAX, "a code nobody knows")):
    answer(f"a reset with {name}", SAY, "chat/1/send", resetting(code), 9, "may or may not", **UNSURE)
    answer(f"a reset with {name}", STATUS, "accounts/1/whoami", resetting(code, stop=True), {1, 11})
answer("a reset with REFUSED", SAY, "chat/1/send", resetting(0x43), {3, 9, 11})
answer("a reset with REFUSED", STATUS, "accounts/1/whoami", resetting(0x43), 3)
answer("STOP_SENDING and no answer", SAY, "chat/1/send", stopping(0x41), 9, "may or may not", **UNSURE)
answer("STOP_SENDING and an answer", STATUS, "accounts/1/whoami", lambda g, s, v: stopping(0x41)(g, s, v) or (v == "open" and g.say(s, message({3: "evil", 4: [], 5: False}) + END, True)), 0)


def failing(*arguments, text="not today, thank you", **named):
    frames = evil.failure(*arguments, text=text, **named)
    return once(frames)


FINAL = {"waiting": 0}
for code, exits in ((0x80, 1), (0x81, 6), (0x82, 5), (0x84, 11), (0x8B, 8), (0x8E, 7), (0x8F, 4), (0x1101, 6), (0x1105, 11), (0xFFF, 1), (0x7FFFFFFF, 1), (0xFFFFFFFF, 1)):
    answer(f"ERROR {code:#x}", SAY, "chat/1/send", failing(code, text=HOSTILE_TEXT), exits, r"\\u\{1b\}", **FINAL)
for code, name in ((0x83, "the time was over"), (0x8D, "of its own")):
    answer(f"ERROR {name}", SAY, "chat/1/send", failing(code), 9, "may or may not", **UNSURE)
for retry in (1, 2, 3):
    answer(f"ERROR to be retried, {retry}", SAY, "chat/1/send", failing(0x85, retry, after=10), {9, 11}, "not|may", calm=False)
answer("ERROR to be retried after 2^53 - 1 ms", SAY, "chat/1/send", failing(0x85, 3, after=MANY), {9, 11}, "not|may")
answer("ERROR to be retried in a way nobody knows", SAY, "chat/1/send", failing(0x82, 99), 5, **FINAL)
answer("ERROR to be retried after nothing", SAY, "chat/1/send", failing(0x82, 3), 5, **FINAL)
for command, method in (*ASKS.values(), (GET, "files/1/get"), (SEND, "files/1/put")):
    answer("ERROR with hostile text", command, method, failing(0x82, text=HOSTILE_TEXT), 5, r"\\u\{1b\}")
answer("ERROR to be retried for ever", GET, "files/1/get", failing(0x85, 1), 11, bound=80, calm=False)
answer("ERROR off the profile", SAY, "chat/1/send", once(S(session.ERROR, b"\xbf\xff")), 9, **UNSURE)
answer("ERROR with a message of 1025 bytes", SAY, "chat/1/send", once(S(session.ERROR, cbor({0: 0x80, 1: 0, 3: "a" * 1_025}))), 9, **UNSURE)
answer("ERROR and then an answer", SAY, "chat/1/send", once(evil.failure(0x82) + SENT), {5, 9})
answer("ERROR that is refused elsewhere", SAY, "chat/1/resolve", failing(0x1101), 6, "room", **FINAL)


# --- chat --------------------------------------------------------------------------------------------------------------


def pages(next_page):
    """A list that is asked for again and again."""
    return lambda guest, stream, value: guest.say(stream, message(next_page(value)) + END, True) if isinstance(value, dict) else None


def room(name: str, **more) -> dict:
    return {0: name, 1: head(5)} | more


case("a list of rooms that says more for ever", LIST, {"chat/1/room.list": pages(lambda ask: {0: [room("a")], 1: "a"})}, {0, 11})
case("a list of rooms whose names rise for ever", LIST, {"chat/1/room.list": pages(lambda ask: {0: [room("a")], 1: ask.get(0, "a") + "a"})}, 11, "list of rooms", calm=False, bound=60)
case("a list of rooms of 1 MiB names for ever", LIST, {"chat/1/room.list": pages(lambda ask: {0: [room("x" * 900_000)], 1: ask.get(0, "") + "b"})}, {1, 11}, calm=False, bound=60)
case("users that never end", ["user", "list"], {"accounts/1/user.list": pages(lambda ask: {0: [{0: bytes(16), 1: "x" * 900_000, 2: [], 3: 0}], 1: bytes(16)})}, {1, 11}, calm=False, bound=60)
case("users that never end, of nobody", ["user", "list"], {"accounts/1/user.list": pages(lambda ask: {0: [], 1: bytes(16)})}, 11, "list of users", calm=False, bound=60)
case("rooms with hostile names", LIST, {"chat/1/room.list": says({0: [room(HOSTILE_TEXT)]})}, {0, 1})
case("rooms with hostile names, as JSON", [*LIST, "--json"], {"chat/1/room.list": says({0: [room(HOSTILE_TEXT)]})}, {0, 1})
case("a room of another name is made", ["room", "create", "new"], {"chat/1/room.create": says({0: room(HOSTILE_TEXT), 1: False})}, {0, 1})
case("who I am, hostile", STATUS, {"accounts/1/whoami": says({0: evil.USER, 1: HOSTILE_TEXT, 2: HOSTILE_TEXT, 3: HOSTILE_TEXT, 4: [HOSTILE_TEXT], 5: False})}, 0, prints="server")
case("who I am, hostile, as JSON", [*STATUS, "--json"], {"accounts/1/whoami": says({0: evil.USER, 1: HOSTILE_TEXT, 2: HOSTILE_TEXT, 3: HOSTILE_TEXT, 4: [HOSTILE_TEXT], 5: False})}, 0)
for body, name in ((HOSTILE_TEXT.encode(), "escapes"), (b"\xff\xfe\x9b31m", "no text"), (b"a\n" * 9_000, "lines"), (b"x" * 200_000, "200,000 bytes")):
    for more in ([], ["--json"]):
        answer(f"a body of {name}" + (", as JSON" if more else ""), [*TAIL, *more], "chat/1/history", functools.partial(lambda g, s, v, b: says({0: head(5), 1: 1, 2: [record(n, b, author=HOSTILE_TEXT) for n in range(1, 6)]})(g, s, v), b=body), {0, 1})


def page(begin, records, last=5, **more):
    return says({0: head(last, **more), 1: begin, 2: records})


EVENTS = [record(seq) for seq in range(1, 6)]
LINES = r"(#lab:\d+ .*\n)"
answer("events that cannot be read", TAIL, "chat/1/history", page(1, [b"", b"\xff", cbor({0: b""}), cbor([]), cbor({0: evil.envelope(5)})]), 0, prints=LINES + "{5}$")
answer("events of kinds nobody knows", TAIL, "chat/1/history", page(1, [record(n, kind=kind) for n, kind in enumerate((9, 70, 127, 128, 65_535), 1)]), 0, prints=LINES + "{5}$")
answer("more events than there are", TAIL, "chat/1/history", page(1, [record(seq) for seq in range(1, 100)]), 0, prints=LINES + "{5}$")
answer("events from before", [*TAIL[:-1], "3"], "chat/1/history", page(1, EVENTS), 7, "not asked for")
answer("a page without events", TAIL, "chat/1/history", page(1, []), 7, "#lab")
answer("a page that begins later", TAIL, "chat/1/history", page(3, EVENTS[2:]), 7, "#lab")
answer("a page of another room", TAIL, "chat/1/history", page(1, EVENTS, room=b"other" * 3 + b"!"), 7, "another room")
answer("pages without events that begin ever later", TAIL, "chat/1/history", pages(lambda ask: {0: head(MANY), 1: ask.get(1, 1) + 1, 2: []}), 7, "#lab")
case("a log of 2^53 - 1 events, the newest", ["tail", NAME], {"chat/1/resolve": says(room(NAME) | {1: head(MANY)}), "chat/1/history": pages(lambda ask: {0: head(MANY), 1: ask[1], 2: [record(9)] * 10})}, 0, prints=LINES + "{10}$")
case("a log that begins behind its end", ["tail", NAME], {"chat/1/resolve": says(room(NAME) | {1: head(5, first=MANY)})}, {0, 7})
case("events were trimmed", TAIL, {"chat/1/resolve": says(room(NAME) | {1: head(5, first=3)}), "chat/1/history": page(3, EVENTS[2:], first=3)}, 0, "gone", prints=LINES + "{3}$")


def updates(*values):
    """What `sync` sends for the first cursor."""

    def act(guest, stream, value):
        if isinstance(value, dict) and stream not in guest.state:
            guest.state[stream] = True
            for update in values:
                guest.say(stream, message(update))

    return act


def batch(begin, count, room=ROOM, epoch=1):
    return {0: room, 1: epoch, 2: begin, 3: [record(seq) for seq in range(begin, begin + count)]}


def follow(name, *values, exits=-15, says="", events=0, **more):
    script = {"chat/1/sync": updates(*values)}
    case(f"{name}, followed", FOLLOW, script, exits, says, prints=f"({LINES}{{{events}}})$", lasts=2.5 if exits == -15 else None, **more)


START = {0: [head(6)]}
follow("events twice", START, {2: [batch(6, 1)]}, {2: [batch(6, 1)]}, {2: [batch(1, 6)]}, events=1)
follow("a gap", START, {2: [batch(8, 3)]}, events=0)


def leaping(guest, stream, value):
    """Leaves out event 7, and is asked for it."""
    for cursor in value.get(0, []) if isinstance(value, dict) else []:
        begin = cursor[2]
        guest.say(stream, message({0: [head(9)], 2: [batch(begin, 1)]}))
        guest.say(stream, message({2: [batch(begin + 2, 1)]} if begin < 9 else {3: [{0: ROOM, 1: 1, 2: 9}]}))


case("a gap ever again, followed", FOLLOW, {"chat/1/sync": leaping}, -15, prints=f"({LINES}{{4}})$", lasts=2.5)
follow("events before a head", {2: [batch(6, 3)]}, events=0)
follow("events of another room", START, {2: [batch(6, 3, room=b"other" * 3 + b"!")]}, events=0)
follow("events of another epoch", START, {2: [batch(6, 3, epoch=7)]}, events=0)
follow("live far beyond", START, {3: [{0: ROOM, 1: 1, 2: MANY}]}, events=0)
follow("a room that was trimmed whole", START, {1: [{0: ROOM, 1: 1, 2: MANY}]}, says="gone", events=0)
follow("a head of the highest numbers", {0: [head(MANY, first=MANY)]}, {2: [batch(6, 1)]}, events=1)
follow("history rewound ever again", *({0: [head(6, epoch=epoch, rewound=6)], 2: [batch(6, 1, epoch=epoch)]} for epoch in range(1, 50)), says="restored", events=49)
follow("refused with hostile text", START, {4: [{0: ROOM, 1: 0x82, 2: HOSTILE_TEXT}]}, exits=5, says=r"\\u\{1b\}")
follow("updates of nothing", START, *[{}] * 5_000, {2: [batch(6, 1)]}, events=1)
follow("updates with keys nobody knows", START | {99: [1], 24: "x"}, {2: [batch(6, 1) | {77: {}}], 99: 1}, events=1)
case("an update that is none, followed", FOLLOW, {"chat/1/sync": updates([1])}, 1, "malformed")
case("END at once, followed", FOLLOW, {"chat/1/sync": once(END)}, -15, lasts=2.5, calm=False)
case("GOAWAY at once, followed", FOLLOW, {"chat/1/sync": lambda g, s, v: g.say(3, GOAWAY)}, -15, lasts=2.5)


# --- files -------------------------------------------------------------------------------------------------------------


def fetch(name, exits, says="", parts=None, leaves=frozenset(), bound=20, **changes):
    """A `get` whose head (`name_`, `kind`, `size`, `root`, `transfer`) or parts are other ones."""
    keys = {"transfer": 0, "name_": 1, "kind": 2, "size": 3, "root": 4, "meta": 5}
    file = FILE_HEAD | {keys[key]: value for key, value in changes.items()}
    file = {key: value for key, value in sorted(file.items()) if value is not None}
    script = {"files/1/get": functools.partial(evil.get, file=file, parts=parts)}
    case(f"{name}, get", GET, script, exits, says, leaves=set(leaves), bound=bound)


fetch("a good file", 0, leaves={"data.bin"})
for named, bad in {
    "nothing": b"", "a dot": b".", "two dots": b"..", "a way up": b"../evil", "a way from the root": b"/etc/evil", "a way down": b"a/b",
    "a zero byte": b"a\0b", "256 bytes": b"x" * 256, "our own prefix": b".hikyaku-evil", "a hidden name": b".bashrc",
}.items():  # fmt: skip
    fetch(f"a file named by {named}", 1, "name", name_=bad)
fetch("a file with a hostile name", 0, name_=b"a\x1b[2J\r\n\xff", leaves={"a\x1b[2J\r\n\udcff"})
fetch("a tree that is none", {1, 7}, "bundle", kind=1)
fetch("a symbolic link", 1, "regular files", kind=2)
fetch("a kind nobody knows", 1, kind=77)
fetch("a file of 2^53 - 1 bytes", 8, "full", size=MANY)
fetch("a file without a size", 0, size=None, leaves={"data.bin"})
fetch("a file without a root", 0, root=None, leaves={"data.bin"})
fetch("a file that is longer", 1, size=len(BYTES) - 1)
fetch("a file that is shorter", 1, size=len(BYTES) + 1)
fetch("a file that is empty", 1, size=0)
fetch("setuid in the mode", 0, "", meta={0: 0o6777}, leaves={"data.bin"})
WRONG = bytes(32)
fetch("another root than announced", 7, "", root=WRONG)
fetch("another root at the close", 7, "damaged", parts=(block(0, BYTES), close(len(BYTES), WRONG)))
fetch("another size at the close", 1, "", parts=(block(0, BYTES), close(len(BYTES) + 1, ROOT)))
fetch("a group that is damaged", 7, "damaged", parts=(block(0, BYTES, data=BYTES[:-1] + b"?"), close(len(BYTES), ROOT)))
fetch("chaining values of another file", 7, "damaged", parts=(block(0, BYTES, cvs=bytes(64)), close(len(BYTES), ROOT)))
fetch("a chaining value too few", 1, "", parts=(block(0, BYTES, cvs=bytes(32)), close(len(BYTES), ROOT)))
fetch("a block that leaves a gap", 1, "", parts=(block(65_536, BYTES[65_536:]), close(len(BYTES), ROOT)))
fetch("a block twice", 1, "", parts=(block(0, BYTES[:65_536]), block(0, BYTES[:65_536])))
fetch("a block beyond the end", 1, "", parts=(block(0, BYTES + b"x"),))
fetch("a block of 2^53 - 1 bytes", 1, "", parts=(block(0, BYTES, len=MANY),))
fetch("a block at 2^53 - 1", 1, "", parts=(block(0, BYTES, offset=MANY),))
fetch("a block without bytes", 1, "", parts=(block(0, BYTES, len=0, cvs=b"", data=b""),))
fetch("fewer bytes than announced", 1, "", parts=(block(0, BYTES, data=BYTES[:-1]), close(len(BYTES), ROOT)))
fetch("more bytes than announced", 1, "", parts=(block(0, BYTES, data=BYTES + b"x"), close(len(BYTES), ROOT)))
fetch("bytes without a block", 1, "", parts=(S(session.DATA, BYTES),))
fetch("a close at once", 1, "", parts=(close(len(BYTES), ROOT),))
fetch("END at once and no end", 11, "moved", parts=(END,), bound=80)
fetch("a message for a block", 1, "", parts=(message(5),))
fetch("END for a close and no end", 11, "moved", parts=(block(0, BYTES), END), bound=80)
fetch("a message that is none", 1, "", parts=(message({}),))
fetch("a step nobody knows", 1, "", parts=(message([7, {}]),))
fetch("a block and silence", 11, "", parts=(block(0, BYTES[:65_536]),), bound=80)


def ending(*frames):
    """These instead of the close, and the end of the stream."""

    def act(guest, stream, value):
        if isinstance(value, list) and value[0] == 0:
            guest.say(stream, block(0, BYTES[:65_536]) + b"".join(frames), True)
        else:
            evil.get(guest, stream, value)

    return {"files/1/get": act}


case("ERROR in the middle, get", GET, ending(evil.failure(0x8E)), 7, "CORRUPT")
case("END in the middle, get", GET, ending(END), 1)
case("the end in the middle, get", GET, ending(), {1, 3, 11}, bound=80, calm=False)


def half(guest, stream, value):
    """A part, and then the connection is gone."""
    if isinstance(value, dict):
        guest.say(stream, message(FILE_HEAD))
    elif isinstance(value, list) and value[0] == 0 and value[1][1] == 0:
        guest.say(stream, block(0, BYTES[:65_536]))
        guest.flush()
        guest.tls.shutdown(2)
    else:
        evil.get(guest, stream, value)


def unfinished(guest, stream, value):
    """All but the END behind the receipt."""
    if not (isinstance(value, list) and value[0] == 1):
        evil.get(guest, stream, value)


case("the connection breaks once, get", GET, {"files/1/get": half}, 0, leaves={"data.bin"}, bound=60)
case("no END behind the receipt, get", GET, {"files/1/get": unfinished}, 0, leaves={"data.bin"})


def store(name, exits, says="", accept=None, receipt=None, act=None, bound=20, **more):
    script = {"files/1/put": act or functools.partial(evil.put, accept=accept, receipt=receipt)}
    case(f"{name}, send", SEND, script, exits, says, bound=bound, **more)


store("a good receipt", 0, prints="#lab:6")
store("from beyond the end", 1, "", accept={1: 1 << 30})
store("from 2^53 - 1", 1, "", accept={1: MANY})
store("from the middle of a group", 1, "", accept={1: 5})
store("a prefix of another file", 1, "", accept={1: 65_536, 2: WRONG})
store("another transfer accepted", 1, "", accept={0: bytes(16)})
store("a receipt of another transfer", 1, "receipt", receipt={0: bytes(16)})
store("a receipt of another root", 1, "receipt", receipt={1: WRONG})
store("a receipt of another size", 1, "receipt", receipt={2: 5})
store("a receipt that was not synced", 0, receipt={3: 0})
store("a receipt with a hostile room", {0, 1}, receipt={5: {0: HOSTILE_TEXT, 2: MANY}})


def at_once(frames):
    return lambda guest, stream, value: guest.say(stream, frames(value), True) if isinstance(value, dict) else None


store("a receipt of another file at once", 1, "receipt", act=at_once(lambda offer: message([1, {0: offer[0], 1: WRONG, 2: 5, 3: 2}]) + END))
store("answers nobody knows for ever", 11, "again", act=lambda g, s, v: isinstance(v, dict) and [g.say(s, message([99, {}])) for _ in range(50_000)], bound=80)
store("END for an acceptance", 1, "", act=at_once(lambda offer: END))
store("the receiver's disk is full", 8, "full|room", act=once(evil.failure(0x8B)))
store("the receiver stops in the middle", {0, 1, 11}, "", act=lambda g, s, v: evil.put(g, s, v) or (isinstance(v, list) and v[0] == 0 and g.mux.stop(s, 0x41)), bound=80, calm=False)


def receipt_without_end(guest, stream, value):
    if isinstance(value, dict):
        evil.put(guest, stream, value)
    elif isinstance(value, list) and value[0] == 1:
        whole = {0: guest.state.get("transfer", bytes(16)), 1: value[1][2], 2: value[1][1], 3: 2}
        guest.say(stream, message([1, whole]))


store("a receipt and no END", 11, "again", act=receipt_without_end, bound=80)


# --- join --------------------------------------------------------------------------------------------------------------


def welcome(name, exits, says="", **changes):
    keys = {"user": 1, "device": 2, "server": 3, "roles": 4}
    value = {0: evil.USER, 1: "ana", 2: "pc", 3: "evil", 4: ["member"]} | {keys[k]: v for k, v in changes.items()}
    case(f"{name}, join", JOIN, {"enroll/1/redeem": evil.says(value)}, exits, says)


welcome("a good welcome", 0)
welcome("a server named ../../../evil", 0, server="../../../evil")
welcome("a server without a name", 0, server="")
welcome("a server named by 4,000 letters", 0, server="x" * 4_000)
welcome("a server with a hostile name", 0, server=HOSTILE_TEXT)
welcome("a user with a hostile name", 0, user=HOSTILE_TEXT, device=HOSTILE_TEXT)
welcome("roles without number", {0, 1, 11}, roles=["x" * 60] * 10_000)
case("a welcome that is empty, join", JOIN, {"enroll/1/redeem": once(END)}, 1)
case("a welcome without END, join", JOIN, {"enroll/1/redeem": once(message({0: evil.USER, 1: "a", 2: "b", 3: "c", 4: []}))}, 1)
case("a welcome that is none, join", JOIN, {"enroll/1/redeem": evil.says({1: 5})}, 1)
for code in (0x1000, 0x1001, 0x1002):
    case(f"ERROR {code:#x}, join", JOIN, {"enroll/1/redeem": failing(code)}, 4, "new invite")
