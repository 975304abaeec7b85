"""What a hostile or careless peer writes, and what a server must do about it: tables for `test_hostile.py`.

A name, the bytes, the expectation. The table tells in which state the case begins:

    FIRST      TLS is there; the case is the first bytes
    MUX        parameters and HELLO were exchanged; the case is the frames of one record
    CONTROL    parameters were exchanged; the case is all that the control stream carries
    EXCHANGE   as MUX; the case is the opener's half of stream 0, and then FIN
    OPEN_END   as EXCHANGE, without the FIN
    STRANGER   as EXCHANGE, from a device that the server does not know
    STRANGER_MUX  as MUX, from such a device

A set of expectations means that the specification leaves the choice to the server.
"""

from dataclasses import dataclass

import cbor_profile
import qmux
import session
import varint
import test_vectors
from harness import HELLO, control, opening, request

PARAMETERS = qmux.encode_parameters(qmux.OURS)


@dataclass(frozen=True)
class Closes:
    """CONNECTION_CLOSE with this code: of the transport (0x1c) or of the session (0x1d)."""

    code: int
    application: bool


@dataclass(frozen=True)
class Fails:
    """ERROR with this code on stream 0; the connection survives."""

    code: int


@dataclass(frozen=True)
class Resets:
    """RESET_STREAM of the answerer's half of stream 0 with this code; the connection survives."""

    code: int


@dataclass(frozen=True)
class Stops:
    """STOP_SENDING for this stream; the connection survives."""

    stream: int
    code: int


class Ends:
    """The byte stream ends, without a frame."""


class Answers:
    """Stream 0 is answered as if nothing were wrong; the connection survives."""


class Survives:
    """Nothing is answered; the connection survives."""


class Whatever:
    """The connection survives, whatever is said on stream 0."""


def transport(code: int) -> Closes:
    return Closes(code, application=False)


def application(code: int) -> Closes:
    return Closes(code, application=True)


# --- building blocks -------------------------------------------------------------------------------------------------

F, S, V = qmux.frame, session.frame, varint.encode
LIST = opening("chat/1", "room.list")
MESSAGE, END = S(session.MESSAGE, b"\xa0"), S(session.END)
GOOD = request("chat/1", "room.list", {})
STREAM = qmux.stream_frame
ENCODING, VIOLATION, STATE = (transport(c) for c in (qmux.FRAME_ENCODING_ERROR, qmux.PROTOCOL_VIOLATION, 5))
FLOW, STREAM_LIMIT, FINAL_SIZE = (transport(c) for c in (qmux.FLOW_CONTROL_ERROR, 4, qmux.FINAL_SIZE_ERROR))
BAD_PARAMETER = transport(qmux.TRANSPORT_PARAMETER_ERROR)
UNEXPECTED, LIMIT, FRAME_ERROR = (application(c) for c in (4, session.LIMIT_EXCEEDED, session.FRAME_ERROR))
BAD_MESSAGE = application(session.MESSAGE_ERROR)
INVALID = Fails(session.INVALID_MESSAGE)


def parameters(*more, without: int | None = None) -> bytes:
    return qmux.record(qmux.encode_parameters([p for p in qmux.OURS.items() if p[0] != without] + list(more)))


def message(payload: bytes) -> bytes:
    return LIST + S(session.MESSAGE, payload) + END


def cbor(value) -> bytes:
    return cbor_profile.encode(value)


def hello(value) -> bytes:
    return control(value if isinstance(value, bytes) else cbor(value))


def hello_with(**changes) -> bytes:
    """A HELLO with other `limits`, `ids` or `agent`."""
    limits = {0: 65_536, 1: 4_096, 2: 1_000}
    return hello({0: changes.get("limits", limits), 1: changes.get("ids", []), 2: changes.get("agent", "hostile")})


def goaway(value) -> bytes:
    return control() + S(session.GOAWAY, value if isinstance(value, bytes) else cbor(value))


def padded(size: int) -> bytes:
    """A record of this many bytes of PADDING."""
    return V(size) + bytes(size)


def failure(value) -> bytes:
    return LIST + S(session.ERROR, value if isinstance(value, bytes) else cbor(value))


def header(kind: int, length: int) -> bytes:
    """A frame's header, without its payload."""
    return V(kind) + V(length)


HELLO_2048 = cbor(cbor_profile.decode(HELLO) | {0xFA: bytes(2_048 - len(HELLO) - 5)})
assert len(HELLO_2048) == 2_048

FIRST = {
    "no parameters but PADDING": (qmux.record(bytes(1)), VIOLATION),
    "no parameters but a ping": (qmux.record(F(qmux.PING, 0)), VIOLATION),
    "no parameters but a stream": (qmux.record(STREAM(2, 0, control())), VIOLATION),
    "no parameters but MAX_DATA": (qmux.record(F(qmux.MAX_DATA, 1)), VIOLATION),
    "parameters twice in one record": (qmux.record(PARAMETERS, PARAMETERS), VIOLATION),
    "parameters twice in two records": (qmux.record(PARAMETERS) + qmux.record(PARAMETERS), VIOLATION),
    "parameters after a padding": (qmux.record(bytes(1), PARAMETERS), VIOLATION),
    "parameters longer than their record": (qmux.record(F(qmux.TRANSPORT_PARAMETERS, 5) + b"\1"), ENCODING),
    "a frame type in a long form": (qmux.record(PARAMETERS, varint.encode_in(qmux.PADDING, 2)), VIOLATION),
    "a parameter cut off": (qmux.record(F(qmux.TRANSPORT_PARAMETERS, 2) + b"\4\5"), BAD_PARAMETER),
    "a parameter twice": (parameters((qmux.INITIAL_MAX_DATA, 5)), BAD_PARAMETER),
    "a parameter with more than one varint": (parameters((4, b"\1\1"), without=4), BAD_PARAMETER),
    "a parameter with half a varint": (parameters((4, b"\x40"), without=4), BAD_PARAMETER),
    "a parameter without a value": (parameters((4, b""), without=4), BAD_PARAMETER),
    "max_streams of 2^60": (parameters((8, 1 << 60), without=8), Answers),
    "max_streams of 2^60 + 1": (parameters((8, (1 << 60) + 1), without=8), BAD_PARAMETER),
    "max_streams uni of 2^60 + 1": (parameters((9, (1 << 60) + 1), without=9), BAD_PARAMETER),
    "max_record_size of 16381": (parameters((qmux.MAX_RECORD_SIZE, 16_381)), BAD_PARAMETER),
    "max_record_size of 16382": (parameters((qmux.MAX_RECORD_SIZE, 16_382)), Answers),
    "max_record_size of 2^62 - 1": (parameters((qmux.MAX_RECORD_SIZE, varint.MAX)), Answers),
    "an unknown parameter": (parameters((0x1F * 7 + 27, b"grease"), (0x6AB2, 5)), Answers),
    "parameters in the reverse order": (
        qmux.record(qmux.encode_parameters(list(qmux.OURS.items())[::-1])),
        Answers,
    ),
    "a record of 16383 bytes": (qmux.record(PARAMETERS) + padded(16_383), ENCODING),
    "a record of 2^62 - 1 bytes": (qmux.record(PARAMETERS) + V(varint.MAX), ENCODING),
    "a record of 16383 bytes as the very first": (V(16_383), ENCODING),
    "a record of 16382 bytes": (qmux.record(PARAMETERS) + padded(16_382), Answers),
    "a record of 16381 bytes": (qmux.record(PARAMETERS) + padded(16_381), Answers),
    "a record without a frame": (qmux.record(PARAMETERS) + b"\0", VIOLATION),
    "a close before the parameters": (qmux.record(qmux.close_frame(0x1D, 0)), VIOLATION),
    "a record size in a long form": (varint.encode_in(len(PARAMETERS), 8) + PARAMETERS, Answers),
    "an HTTP request": (b"GET / HTTP/1.1\r\nX: " + bytes(2_000) + b"\r\n\r\n", VIOLATION),
} | {
    f"forbidden parameter {key:#04x}": (parameters((key, b"\1")), BAD_PARAMETER)
    for key in sorted(qmux.FORBIDDEN_PARAMETERS)
}

MUX = {
    f"forbidden frame {kind:#04x} ({name})": (F(kind, 0, 0, 0, 0), ENCODING)
    for kind, name in {
        0x01: "PING", 0x02: "ACK", 0x03: "ACK_ECN", 0x06: "CRYPTO", 0x07: "NEW_TOKEN", 0x18: "NEW_CONNECTION_ID",
        0x19: "RETIRE_CONNECTION_ID", 0x1A: "PATH_CHALLENGE", 0x1B: "PATH_RESPONSE", 0x1E: "HANDSHAKE_DONE",
        0x1F: "nobody's", 0x24: "RESET_STREAM_AT", 0x32: "nobody's", 0xAF: "ACK_FREQUENCY", varint.MAX: "the last",
    }.items()
} | {
    "a STREAM frame longer than its record": (F(0x0E, 0, 0, 5) + b"abc", ENCODING),
    "a STREAM frame cut off in its offset": (F(0x0E, 0) + b"\x40", ENCODING),
    "a STREAM frame beyond 2^62": (F(0x0E, 0, varint.MAX, 5) + b"abcde", {ENCODING, FLOW, VIOLATION}),
    "a frame cut off in its type": (b"\0\0\x40", ENCODING),
    "a DATAGRAM longer than its record": (F(0x31, 5) + b"\0", ENCODING),
    "a CONNECTION_CLOSE whose reason is cut off": (F(0x1D, 0, 5) + b"abc", ENCODING),
    "a gap in a stream": (STREAM(0, 0, LIST[:3]) + STREAM(0, 4, LIST[4:]), VIOLATION),
    "a stream that begins in the middle": (STREAM(0, 1, LIST[1:]), VIOLATION),
    "bytes of a stream again": (STREAM(0, 0, LIST[:3]) + STREAM(0, 0, LIST), VIOLATION),
    "bytes after FIN": (STREAM(0, 0, LIST, True) + STREAM(0, len(LIST), b"x"), FINAL_SIZE),
    "FIN again, later": (STREAM(0, 0, LIST, True) + STREAM(0, len(LIST), b"x", True), FINAL_SIZE),
    "a reset before what was sent": (STREAM(0, 0, LIST) + F(qmux.RESET_STREAM, 0, 0x41, 1), FINAL_SIZE),
    "a reset beyond FIN": (STREAM(0, 0, LIST, True) + F(qmux.RESET_STREAM, 0, 0x41, 1 << 10), FINAL_SIZE),
    "two resets with two ends": (F(qmux.RESET_STREAM, 0, 0x41, 5) + F(qmux.RESET_STREAM, 0, 0x41, 6), FINAL_SIZE),
    "a reset with more than the credit": (F(qmux.RESET_STREAM, 0, 0x41, varint.MAX), FLOW),
    "a server's stream, not opened": (STREAM(1, 0, b"x"), STATE),
    "bytes on a stream only the server writes": (STREAM(3, 0, b"x"), STATE),
    "a reset of a stream only the server writes": (F(qmux.RESET_STREAM, 3, 0, 0), STATE),
    "STREAM_DATA_BLOCKED on a stream only the server writes": (F(qmux.STREAM_DATA_BLOCKED, 3, 0), STATE),
    "credit for a stream only the client writes": (F(qmux.MAX_STREAM_DATA, 2, 1 << 20), STATE),
    "STOP_SENDING for a stream only the client writes": (F(qmux.STOP_SENDING, 2, 0x41), STATE),
    "credit for a server's stream, not opened": (F(qmux.MAX_STREAM_DATA, 1, 1 << 20), STATE),
    "STOP_SENDING for a server's stream, not opened": (F(qmux.STOP_SENDING, 7, 0x41), STATE),
    "MAX_STREAMS of 2^60": (F(qmux.MAX_STREAMS_BIDI, 1 << 60), Survives),
    "MAX_STREAMS of 2^60 + 1": (F(qmux.MAX_STREAMS_BIDI, (1 << 60) + 1), ENCODING),
    "MAX_STREAMS uni of 2^60 + 1": (F(qmux.MAX_STREAMS_UNI, (1 << 60) + 1), ENCODING),
    "STREAMS_BLOCKED of 2^60 + 1": (F(qmux.STREAMS_BLOCKED_BIDI, (1 << 60) + 1), {ENCODING, STREAM_LIMIT}),
    "MAX_STREAMS that falls": (F(qmux.MAX_STREAMS_BIDI, 0), Survives),
    "MAX_DATA that falls": (F(qmux.MAX_DATA, 0), Survives),
    "blocked, says everything": (
        F(qmux.DATA_BLOCKED, 0) + F(qmux.STREAMS_BLOCKED_BIDI, 0) + F(qmux.STREAMS_BLOCKED_UNI, 0),
        Survives,
    ),
    "a stream beyond the limit": (STREAM(1 << 40, 0, b"x"), STREAM_LIMIT),
    "a unidirectional stream beyond the limit": (STREAM(2 | 1 << 40, 0, b"x"), STREAM_LIMIT),
    "the highest stream there can be": (STREAM(varint.MAX - 3, 0, b"x"), STREAM_LIMIT),
    "STOP_SENDING for a stream beyond the limit": (F(qmux.STOP_SENDING, 1 << 40, 0), STREAM_LIMIT),
    "an answer to no ping": (F(qmux.PONG, 1 << 40), VIOLATION),
    "a ping whose number falls": (F(qmux.PING, 5) + F(qmux.PING, 4), VIOLATION),
    "a ping whose number stays": (F(qmux.PING, 5) + F(qmux.PING, 5), VIOLATION),
    "pings whose numbers rise": (F(qmux.PING, 5) + F(qmux.PING, 1 << 40), Survives),
    "a ping with the highest number": (F(qmux.PING, varint.MAX), Survives),
    "a datagram without a number": (F(0x31, 0), application(session.DATAGRAM_ERROR)),
    "a datagram with half a number": (F(0x31, 1) + b"\x40", application(session.DATAGRAM_ERROR)),
    "a datagram with a long number": (F(0x31, 3) + b"\x40\x01x", application(session.DATAGRAM_ERROR)),
    "a datagram up to the end of its record": (F(0x30) + b"\x02x", Survives),
    "a datagram of an exchange nobody knows": (F(0x31, 3) + V(9) + b"ab", Survives),
    "a hundred datagrams of exchanges nobody knows": ((F(0x31, 3) + V(9) + b"ab") * 100, Survives),
    "a datagram of 1001 bytes": (F(0x30) + V(9) + bytes(1_001), Survives),
    "STOP_SENDING for the server's control stream": (F(qmux.STOP_SENDING, 3, 0x41), application(session.CONTROL_STREAM_CLOSED)),
    "a reset of a unidirectional stream without a type": (F(qmux.RESET_STREAM, 6, 0x41, 0), Survives),
    "a datagram of the highest number": (F(0x31, 9) + V(varint.MAX) + b"a", Survives),
    "a unidirectional stream of unknown type": (STREAM(6, 0, V(0x21) + b"?"), Stops(6, 0x42)),
    "a unidirectional stream of a long type": (STREAM(6, 0, V(0x1F * 1000 + 0x21) + b"?"), Stops(6, 0x42)),
    "a unidirectional stream without a type": (STREAM(6, 0, b"", True), Survives),
    "a unidirectional stream with half a type": (STREAM(6, 0, b"\x80", True), Survives),
    "a second control stream": (STREAM(6, 0, control()), application(session.PROTOCOL_VIOLATION)),
    "a reset of the control stream": (
        F(qmux.RESET_STREAM, 2, 0x41, len(control())),
        application(session.CONTROL_STREAM_CLOSED),
    ),
    "an end of the control stream": (
        STREAM(2, len(control()), b"", True),
        application(session.CONTROL_STREAM_CLOSED),
    ),
    "a close": (qmux.close_frame(0x1D, 0), Ends),
    "a close with a code nobody knows": (qmux.close_frame(0x1D, varint.MAX, "\x1b[31m\u202e".encode()), Ends),
    "a close of the transport": (qmux.close_frame(0x1C, 0xA, b"\xff\xfe"), Ends),
    "a reset of an exchange that was never opened": (F(qmux.RESET_STREAM, 0, 0x41, 0), Survives),
    "a reset with a code nobody knows": (STREAM(0, 0, LIST) + F(qmux.RESET_STREAM, 0, varint.MAX, len(LIST)), Survives),
    "STOP_SENDING with a code nobody knows": (STREAM(0, 0, LIST) + F(qmux.STOP_SENDING, 0, varint.MAX), Survives),
}  # fmt: skip

CONTROL = {
    "GOAWAY first": (V(0) + S(session.GOAWAY, cbor({0: 0, 1: 0, 2: ""})), application(session.HELLO_MISSING)),
    "OPEN first": (V(0) + LIST, application(session.HELLO_MISSING)),
    "an end before HELLO": (None, application(session.CONTROL_STREAM_CLOSED)),
    "HELLO twice": (control() + S(session.HELLO, HELLO), UNEXPECTED),
    "HELLO in a type of two bytes": (V(0) + varint.encode_in(1, 2) + V(len(HELLO)) + HELLO, FRAME_ERROR),
    "HELLO in a length of eight bytes": (V(0) + V(1) + varint.encode_in(len(HELLO), 8) + HELLO, FRAME_ERROR),
    "HELLO of 64 KiB": (V(0) + header(session.HELLO, 1 << 16), LIMIT),
    "HELLO of 2048 bytes": (hello(HELLO_2048), Answers),
    "HELLO of 2^62 - 1 bytes": (V(0) + header(session.HELLO, varint.MAX), LIMIT),
    "HELLO that is empty": (hello(b""), BAD_MESSAGE),
    "HELLO that is an array": (hello([]), BAD_MESSAGE),
    "HELLO without limits": (hello({1: [], 2: ""}), BAD_MESSAGE),
    "HELLO without ids": (hello({0: {0: 1, 1: 1, 2: 0}, 2: ""}), BAD_MESSAGE),
    "HELLO without agent": (hello({0: {0: 1, 1: 1, 2: 0}, 1: []}), BAD_MESSAGE),
    "HELLO with a limit too few": (hello_with(limits={0: 1, 1: 1}), BAD_MESSAGE),
    "HELLO with a negative limit": (hello_with(limits={0: -1, 1: 1, 2: 0}), BAD_MESSAGE),
    "HELLO with a limit of text": (hello_with(limits={0: "1", 1: 1, 2: 0}), BAD_MESSAGE),
    "HELLO with the highest limits": (hello_with(limits=dict.fromkeys(range(3), (1 << 53) - 1)), Answers),
    "HELLO with a limit of 2^53": (hello_with(limits={0: 1 << 53, 1: 1, 2: 0}), BAD_MESSAGE),
    "HELLO with 64 extensions": (hello_with(ids=list(range(64))), Answers),
    "HELLO with 65 extensions": (hello_with(ids=list(range(65))), BAD_MESSAGE),
    "HELLO with a negative extension": (hello_with(ids=[-1]), BAD_MESSAGE),
    "HELLO with an extension twice": (hello_with(ids=[0x21, 0x21]), Answers),
    "HELLO with an agent of 256 bytes": (hello_with(agent="a" * 256), Answers),
    "HELLO with an agent of 257 bytes": (hello_with(agent="a" * 257), BAD_MESSAGE),
    "HELLO with an agent of 86 letters of 3 bytes": (hello_with(agent="飛" * 86), BAD_MESSAGE),
    "HELLO with an agent that paints the terminal": (hello_with(agent="\x1b[31m\u202e\r\n"), Answers),
    "HELLO with a key twice": (hello(b"\xa4" + HELLO[1:] + b"\x02\x60"), BAD_MESSAGE),
    "HELLO with an indefinite map": (hello(b"\xbf" + HELLO[1:] + b"\xff"), BAD_MESSAGE),
    "HELLO with trailing bytes": (hello(HELLO + b"\x00"), BAD_MESSAGE),
    "HELLO in a tag": (hello(b"\xd9\xd9\xf7" + HELLO), BAD_MESSAGE),
    "HELLO with keys nobody knows": (hello(b"\xa5" + HELLO[1:] + cbor({24: [{}]})[1:] + cbor({0xFA: 1})[1:]), Answers),
    "HELLO with a key of text": (hello(b"\xa4" + HELLO[1:] + cbor({"x": 1})[1:]), BAD_MESSAGE),
    "HELLO after grease": (V(0) + S(0x21, b"x" * 9) + S(0x1F * 99 + 0x21) + control()[1:] + S(0x40, b"y"), Answers),
    "HELLO after an unknown frame of 64 KiB": (V(0) + S(0x22, bytes(1 << 16)) + control()[1:], Answers),
    "HELLO before an unknown frame of 64 KiB": (control() + S(0x22, bytes(1 << 16)), Answers),
    "HELLO before an unknown frame of 64 KiB and a byte": (control() + header(0x22, (1 << 16) + 1), LIMIT),
    "GOAWAY that is empty": (goaway(b""), BAD_MESSAGE),
    "GOAWAY without a time": (goaway({0: 0, 2: ""}), BAD_MESSAGE),
    "GOAWAY with a code above 32 bits": (goaway({0: 1 << 32, 1: 0, 2: ""}), BAD_MESSAGE),
    "GOAWAY with a message of 1025 bytes": (goaway({0: 0, 1: 0, 2: "a" * 1_025}), BAD_MESSAGE),
    "GOAWAY of 64 KiB": (control() + header(session.GOAWAY, 1 << 16), LIMIT),
    "GOAWAY without exchanges": (goaway({0: 0, 1: 1_000, 2: "a" * 1_024}), application(session.NO_ERROR)),
    "half a HELLO, then nothing": (control()[:9], application(session.HANDSHAKE_TIMEOUT)),
} | {
    f"{name} after HELLO": (control() + S(kind, payload), UNEXPECTED)
    for name, kind, payload in (
        ("OPEN", session.OPEN, LIST[2:]), ("MESSAGE", session.MESSAGE, b"\xa0"), ("DATA", session.DATA, b"x"),
        ("END", session.END, b""), ("ERROR", session.ERROR, cbor({0: 0x80, 1: 0, 3: ""})),
    )
}  # fmt: skip

SENDS = opening("chat/1", "send")  # a method that reads up to END, however many messages there are
GIVEN_UP = {Resets(session.TRUNCATED), INVALID}
OPEN_LIMIT = 4_096 + 2_048  # S3.13, with the max_metadata the server said
MAX_MESSAGE = 1 << 20


def opens(value, rest: bytes = MESSAGE + END) -> bytes:
    return S(session.OPEN, value if isinstance(value, bytes) else cbor(value)) + rest


EXCHANGE = {
    "an ordinary request": (GOOD, Answers),
    "HELLO": (S(session.HELLO, HELLO), UNEXPECTED),
    "GOAWAY": (S(session.GOAWAY, b"\xa0"), UNEXPECTED),
    "MESSAGE first": (MESSAGE, UNEXPECTED),
    "DATA first": (S(session.DATA, b"x"), UNEXPECTED),
    "empty DATA first": (S(session.DATA, b"") + GOOD, UNEXPECTED),
    "END first": (END, UNEXPECTED),
    "ERROR first": (S(session.ERROR, cbor({0: 0x80, 1: 0, 3: ""})), UNEXPECTED),
    "OPEN twice": (LIST + LIST, UNEXPECTED),
    "OPEN again after a message": (LIST + MESSAGE + LIST, {UNEXPECTED, Answers}),
    "HELLO after OPEN": (LIST + S(session.HELLO, HELLO), UNEXPECTED),
    "MESSAGE after END": (SENDS + END + MESSAGE, UNEXPECTED),
    "DATA after END": (SENDS + END + S(session.DATA, b""), UNEXPECTED),
    "END after END": (SENDS + END + END, UNEXPECTED),
    "ERROR after END": (SENDS + END + S(session.ERROR, cbor({0: 0x80, 1: 0, 3: ""})), UNEXPECTED),
    "OPEN after END": (SENDS + END + LIST, UNEXPECTED),
    "no message at all": (SENDS + END, Answers),
    "MESSAGE after END and an answer": (GOOD + MESSAGE, {UNEXPECTED, Answers}),
    "MESSAGE after ERROR": (failure({0: 0x80, 1: 0, 3: ""}) + MESSAGE, UNEXPECTED),
    "grease everywhere": (
        S(0x21, b"a") + LIST + S(0x40) + S(0x1F << 40 | 0x21 - 0x1F, b"b" * 99) + MESSAGE + S(0x5F) + END + S(0x7E, b"c"),
        Answers,
    ),
    "a thousand unknown frames": (S(0x21) * 1_000 + GOOD, Answers),
    "an unknown frame of 65535 bytes": (S(0x22, bytes(65_535)) + GOOD, Answers),
    "an unknown frame of 65536 bytes": (S(0x22, bytes(65_536)) + GOOD, Answers),
    "an unknown frame of 65537 bytes": (S(0x22, bytes(65_537)) + GOOD, LIMIT),
    "an unknown frame of 2^62 - 1 bytes": (header(0x22, varint.MAX), LIMIT),
    "END with a payload": (SENDS + S(session.END, b"x"), FRAME_ERROR),
    "a type in a long form": (b"\x40\x10" + LIST[1:], FRAME_ERROR),
    "an unknown type in a long form": (varint.encode_in(0x21, 4) + b"\0", FRAME_ERROR),
    "a length in a long form": (b"\x10" + varint.encode_in(len(LIST) - 2, 2) + LIST[2:], FRAME_ERROR),
    "an empty stream": (b"", Resets(session.TRUNCATED)),
    "nothing but grease": (S(0x21), Resets(session.TRUNCATED)),
    "OPEN cut off": (LIST[:-1], Resets(session.TRUNCATED)),
    "OPEN and nothing": (LIST, GIVEN_UP),
    "a message and no END": (LIST + MESSAGE, GIVEN_UP | {Answers}),
    "a message cut off": (LIST + MESSAGE[:-1], GIVEN_UP),
    "END cut off": (LIST + MESSAGE + END[:1], GIVEN_UP | {Answers}),
    "no END of a method that waits for it": (SENDS, GIVEN_UP),
    "END cut off of a method that waits for it": (SENDS + END[:1], GIVEN_UP),
    "a message of the limit": (message(b"\xa1\x00\x5a" + (MAX_MESSAGE - 7).to_bytes(4, "big") + bytes(MAX_MESSAGE - 7)), INVALID),
    "a message of the limit and a byte": (LIST + header(session.MESSAGE, MAX_MESSAGE + 1), LIMIT),
    "a message of 2^62 - 1 bytes": (LIST + header(session.MESSAGE, varint.MAX), LIMIT),
    "OPEN of the limit": (opens({0: "chat/1", 1: "room.list", 0xFA: bytes(OPEN_LIMIT - 25)}), Answers),
    "OPEN of the limit and a byte": (header(session.OPEN, OPEN_LIMIT + 1), LIMIT),
    "ERROR of the limit and a byte": (LIST + header(session.ERROR, OPEN_LIMIT + 1), LIMIT),
    "DATA of 16 MiB and a byte": (LIST + header(session.DATA, (16 << 20) + 1), LIMIT),
    "DATA where none is expected": (LIST + S(session.DATA, b"x") + END, INVALID),
    "END where a message is expected": (LIST + END, INVALID),
    "a message too many": (LIST + MESSAGE + MESSAGE + END, {INVALID, Answers}),
    "OPEN that is empty": (opens(b""), INVALID),
    "OPEN that is an array": (opens([]), INVALID),
    "OPEN without a method": (opens({0: "chat/1"}), INVALID),
    "OPEN without a protocol": (opens({1: "room.list"}), INVALID),
    "OPEN with a protocol of bytes": (opens({0: b"chat/1", 1: "room.list"}), INVALID),
    "OPEN with an empty protocol": (opens({0: "", 1: ""}), INVALID),
    "OPEN with a protocol of 64 bytes": (opens({0: "p" * 64, 1: ""}), Fails(session.UNKNOWN_PROTOCOL)),
    "OPEN with a protocol of 65 bytes": (opens({0: "p" * 65, 1: ""}), INVALID),
    "OPEN with a method of 64 bytes": (opens({0: "chat/1", 1: "m" * 64}), Fails(session.UNKNOWN_METHOD)),
    "OPEN with a method of 65 bytes": (opens({0: "chat/1", 1: "m" * 65}), INVALID),
    "OPEN with metadata of 4096 bytes": (opens({0: "chat/1", 1: "room.list", 3: bytes(4_096)}), Answers),
    "OPEN with metadata of 4097 bytes": (opens({0: "chat/1", 1: "room.list", 3: bytes(4_097)}), INVALID),
    "OPEN with metadata of text": (opens({0: "chat/1", 1: "room.list", 3: "x"}), INVALID),
    "OPEN with a negative deadline": (opens({0: "chat/1", 1: "room.list", 2: -1}), INVALID),
    "OPEN with a deadline of 0": (opens({0: "accounts/1", 1: "whoami", 2: 0}), Fails(session.DEADLINE_EXCEEDED)),
    "OPEN with a deadline of 2^53 - 1": (opens({0: "chat/1", 1: "room.list", 2: (1 << 53) - 1}), Answers),
    "OPEN with a deadline of 2^53": (opens({0: "chat/1", 1: "room.list", 2: 1 << 53}), INVALID),
    "OPEN with keys nobody knows": (opens({0: "chat/1", 1: "room.list", 24: None, 0x21: [], 99: {}, 1 << 40: 1}), Answers),
    "OPEN with a key of text": (opens({0: "chat/1", 1: "room.list", "x": 1}), INVALID),
    "a protocol nobody speaks": (opens({0: "nobody/1", 1: ""}), Fails(session.UNKNOWN_PROTOCOL)),
    "a version nobody speaks": (opens({0: "chat/2", 1: "send"}), Fails(session.UNKNOWN_PROTOCOL)),
    "a protocol that paints the terminal": (opens({0: "\x1b[31m\u202e", 1: "\0"}), Fails(session.UNKNOWN_PROTOCOL)),
    "a method nobody has": (opens({0: "chat/1", 1: "nothing"}), Fails(session.UNKNOWN_METHOD)),
    "an empty method": (opens({0: "chat/1", 1: ""}), Fails(session.UNKNOWN_METHOD)),
    "a message with keys nobody knows": (message(cbor({24: 1, 0xFA: [None], 1 << 40: {"x": b""}})), Answers),
    "a message with a key of text": (message(cbor({"x": 1})), INVALID),
    "a message that is an array": (message(b"\x80"), INVALID),
    "a message that is text": (message(b"\x60"), INVALID),
    "a message with a key of another type": (message(cbor({0: 5})), INVALID),
    "a message 17 deep": (message(cbor({24: 1}) [:2] + b"\x18" + b"\x81" * 16 + b"\0"), INVALID),
    "a message 16 deep": (message(b"\xa1\x18\x18" + b"\x81" * 15 + b"\0"), Answers),
    "a message of 65536 items": (message(b"\xa1\x18\x18\x99" + (65_533).to_bytes(2, "big") + bytes(65_533)), Answers),
    "a message of 65537 items": (message(b"\xa1\x18\x18\x99" + (65_534).to_bytes(2, "big") + bytes(65_534)), INVALID),
    "a message that claims 2^32 items": (message(b"\xa1\x18\x18\x9a\xff\xff\xff\xff"), INVALID),
    "a message that claims 2^63 bytes": (message(b"\xa1\x18\x18\x5b\x7f" + b"\xff" * 7), INVALID),
    "ERROR from the opener": (failure({0: 0x80, 1: 0, 3: ""}), {Fails(session.FAILED), Resets(session.CANCELLED)}),
    "ERROR that is empty": (failure(b""), BAD_MESSAGE),
    "ERROR without a message": (failure({0: 0x80, 1: 0}), BAD_MESSAGE),
    "ERROR with a code of 33 bits": (failure({0: 1 << 32, 1: 0, 3: ""}), BAD_MESSAGE),
    "ERROR with a message of 1025 bytes": (failure({0: 0x80, 1: 0, 3: "a" * 1_025}), BAD_MESSAGE),
    "ERROR with details of 4097 bytes": (failure({0: 0x80, 1: 0, 3: "", 4: bytes(4_097)}), BAD_MESSAGE),
} | {
    f"a message off the profile, {vector['why']}": (message(bytes.fromhex(vector["hex"])), INVALID)
    for vector in test_vectors.vectors("cbor")
    if not vector["accepted"]
}  # fmt: skip

OPEN_END = {
    "an ordinary request": (GOOD, Answers),
    "a method nobody has": (opening("chat/1", "nothing"), Fails(session.UNKNOWN_METHOD)),
    "a deadline of 0": (opening("chat/1", "sync", {2: 0}), Fails(session.DEADLINE_EXCEEDED)),
    "a deadline of 50 ms": (opening("chat/1", "sync", {2: 50}), Fails(session.DEADLINE_EXCEEDED)),
    "a message off the profile": (LIST + S(session.MESSAGE, b"\xff"), INVALID),
}

STRANGER = {
    "OPEN of chat": (GOOD, Fails(session.ENROLL_REQUIRED)),
    "OPEN of a protocol nobody speaks": (request("nobody/1", "", {}), Fails(session.ENROLL_REQUIRED)),
    "OPEN of accounts": (request("accounts/1", "whoami", {}), Fails(session.ENROLL_REQUIRED)),
    "a method enroll does not have": (request("enroll/1", "nothing", {}), Fails(session.UNKNOWN_METHOD)),
    "an invite nobody made": (
        request("enroll/1", "redeem", {0: bytes(8), 1: bytes(16), 2: "eve", 3: "pc"}), Fails(0x1000),
    ),
    "a redeem that is not one": (request("enroll/1", "redeem", {}), INVALID),
    "four known frames": (opening("enroll/1", "redeem") + MESSAGE + MESSAGE + MESSAGE, {application(session.STRANGER_LIMIT), INVALID}),
    "a message of 4097 bytes": (opening("enroll/1", "redeem") + header(session.MESSAGE, 4_097), LIMIT),
    "an unknown frame of 4097 bytes": (header(0x22, 4_097), LIMIT),
    "DATA of a byte": (opening("enroll/1", "redeem") + S(session.DATA, b"x"), LIMIT),
}  # fmt: skip

STRANGER_MUX = {
    "a second exchange beside the first": (STREAM(0, 0, LIST) + STREAM(4, 0, LIST), STREAM_LIMIT),
    "a second unidirectional stream": (STREAM(6, 0, V(0x21)), STREAM_LIMIT),
    "a reset with all the credit": (F(qmux.RESET_STREAM, 0, 0x41, 16_384 - len(control())), Survives),
    "a reset with more than the credit": (F(qmux.RESET_STREAM, 0, 0x41, 2 * 16_384 + 1), FLOW),
    "a datagram": (F(0x31, 2) + b"\0x", Survives),
    "a datagram with a long number": (F(0x31, 3) + b"\x40\x01x", application(session.DATAGRAM_ERROR)),
    "a forbidden frame": (F(0x01), ENCODING),
    "pings": (b"".join(F(qmux.PING, number) for number in range(50)), Survives),
}
