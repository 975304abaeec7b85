"""What an evil server does before anything is asked: the handshake, streams, the session."""

import socket
import struct
import time

import client
import evil
import qmux
import session
import tls13
import varint
from evil import HELLO, S, cbor, message
from evil_case import GET, GOAWAY, HOSTILE_TEXT, JOIN, MANY, SAY, SEND, STATUS, TAIL, case

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


def shown(key_of):
    """The host's certificate, and a flight that is signed with the key of `key_of`."""

    def act(server, plain):
        flight = tls13.Flight(plain, server.host.der(), key_of(server).key, client.ALPN)
        kind, said = flight.answer()
        server.said.append((kind, said[0] if kind == tls13.HANDSHAKE else said[1]))
        server.met_certificate = kind == tls13.HANDSHAKE

    return tcp(act)


BAD_SIGNATURE, OWN_CERTIFICATE = (tls13.ALERT, 51), (tls13.HANDSHAKE, tls13.CERTIFICATE)
for command in (STATUS, SAY, JOIN):
    case(f"the host's certificate with the signature of another, {command[0]}", command, shown(lambda server: server.guest), 3, "could be reached", met=False, hears={BAD_SIGNATURE}, waiting=0)
# The same flight with the signature that belongs to it: the program goes on, and is left alone there.
case("the host's certificate with its own signature", STATUS, shown(lambda server: server.host), 3, "could be reached", met=True, hears={OWN_CERTIFICATE})


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
for command, exits in ((STATUS, {0, 3}), (SAY, {0, 3}), (TAIL, {0, 3}), (JOIN, {0, 3})):  # 0: it was faster
    case(f"GOAWAY at once, {command[0]}", command, {"hello": HELLO + GOAWAY}, exits, waiting=0)
case("a storm of GOAWAY", STATUS, {"hello": HELLO + GOAWAY * 2_000}, {0, 3})
case("GOAWAY in every answer", SAY, {"chat/1/send": lambda guest, stream, value: guest.say(3, GOAWAY) or evil.HONEST["chat/1", "send"](guest, stream, value)}, 0, prints="#lab:6")
case("GOAWAY and no answer", SAY, {"chat/1/send": lambda guest, stream, value: guest.say(3, GOAWAY)}, 9, "may or may not", waiting=1)
