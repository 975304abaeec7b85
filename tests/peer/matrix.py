"""Every frame in every state, and every limit from both sides: tables for `test_matrix.py`, made by multiplying short ones.

Each case is bytes in a state and what must follow: a `Closes`, or None when the connection survives, or a set where the
specification leaves the choice (what arrives on a half that nobody reads is not looked at, S3.47).
"""

import cbor_profile
import qmux
import session
import test_vectors
from cases import (
    BAD_MESSAGE, BAD_PARAMETER, END, ENCODING, F, FINAL_SIZE, GOOD, LIMIT, LIST, MESSAGE, OPEN_LIMIT, PARAMETERS, S, SENDS,
    STATE, STREAM, UNEXPECTED, V, VIOLATION, Ends, Fails, INVALID, Resets, Survives, Whatever, Answers, application, cbor, control, goaway, header,
    hello, hello_with, message, opens,
)  # fmt: skip
from harness import HELLO, opening, request

CLOSED = application(session.CONTROL_STREAM_CLOSED)
GOAWAY = S(session.GOAWAY, cbor({0: 0, 1: 5_000, 2: ""}))
ERROR = S(session.ERROR, cbor({0: 0x80, 1: 0, 3: ""}))
UNKNOWN = opening("chat/1", "nothing")  # answered at once, although its opener goes on

# --- frames of the connection, in every state of the connection ------------------------------------------------------

CONNECTION_FRAMES = {
    "PADDING": (bytes(3), None),
    "MAX_DATA": (F(qmux.MAX_DATA, 1 << 20), None),
    "MAX_STREAMS": (F(qmux.MAX_STREAMS_BIDI, 99) + F(qmux.MAX_STREAMS_UNI, 99), None),
    "DATA_BLOCKED": (F(qmux.DATA_BLOCKED, 1), None),
    "STREAMS_BLOCKED": (F(qmux.STREAMS_BLOCKED_BIDI, 1) + F(qmux.STREAMS_BLOCKED_UNI, 1), None),
    "DATAGRAM": (F(0x30) + b"\x08x", None),
    "DATAGRAM with a length": (F(0x31, 2) + b"\x08x", None),
    "QX_PING": (F(qmux.PING, 5), None),
    "QX_PING, the answer": (F(qmux.PONG, 5), VIOLATION),
    "transport parameters": (PARAMETERS, VIOLATION),
    "CONNECTION_CLOSE of the transport": (qmux.close_frame(0x1C, 0), Ends),
    "CONNECTION_CLOSE of the application": (qmux.close_frame(0x1D, 0), Ends),
    "CRYPTO, which is forbidden": (F(0x06, 0, 0), ENCODING),
    "ACK, which is forbidden": (F(0x02, 0, 0, 0, 0), ENCODING),
    "a frame of nobody": (F(0x4321), ENCODING),
}  # fmt: skip


def parameters(raw) -> None:
    raw.write(qmux.record(PARAMETERS))


def greeted(raw) -> None:
    raw.start()
    raw.granted(2)


def asked(raw) -> None:
    greeted(raw)
    raw.stream(0, SENDS)


def answered(raw) -> None:
    greeted(raw)
    raw.stream(0, GOOD, fin=True)
    raw.until(lambda: raw.finished(0))


def leaving(raw) -> None:
    asked(raw)
    raw.stream(2, GOAWAY)


CONNECTION_STATES = {
    "before HELLO": parameters,
    "after HELLO": greeted,
    "in an exchange": asked,
    "after an exchange": answered,
    "after GOAWAY": leaving,
}

# --- frames of a stream, in every state of the stream ----------------------------------------------------------------


def refused(raw) -> None:
    """The server has said everything, and reads no more; this side goes on."""
    greeted(raw)
    raw.stream(0, UNKNOWN)
    raw.until(lambda: raw.finished(0) and 0 in raw.stops)


def ended(raw) -> None:
    """This side has said everything, and gives no credit for the answer."""
    raw.write(qmux.record(qmux.encode_parameters(qmux.OURS | {qmux.BIDI_LOCAL: 0})))
    raw.stream(2, control())
    raw.until(lambda: raw.listener.theirs is not None and bool(raw.read.get(3)))
    raw.granted(2)
    raw.stream(0, GOOD, fin=True)
    raw.pongs(1)


def withdrawn(raw) -> None:
    greeted(raw)
    raw.stream(0, SENDS)
    raw.frames(F(qmux.RESET_STREAM, 0, session.CANCELLED, len(SENDS)))


def stopped(raw) -> None:
    """This side does not want the answer, and the server has ended its half."""
    greeted(raw)
    raw.stream(0, SENDS)
    raw.frames(F(qmux.STOP_SENDING, 0, session.CANCELLED))
    raw.until(lambda: 0 in raw.resets)


STREAM_STATES = {  # what has been sent of it
    "not opened": (greeted, 0),
    "open": (asked, len(SENDS)),
    "ended": (ended, len(GOOD)),
    "answered": (answered, len(GOOD)),
    "reset": (withdrawn, len(SENDS)),
    "refused": (refused, len(UNKNOWN)),
    "stopped": (stopped, len(SENDS)),
}
OVER = {"ended", "answered", "reset"}  # what was sent is read, or thrown away
GONE = {STATE, None}  # S2.26: a half that is forgotten


def stream_frames(state: str, at: int) -> dict:
    """What may be sent on a stream of which `at` bytes were sent. One that both sides have forgotten is not looked at."""
    over = state in OVER
    final = {FINAL_SIZE, *GONE} if over else None
    same = GONE if over else None
    again = {VIOLATION, FINAL_SIZE, *GONE} if over else VIOLATION if at else None
    gap = {FINAL_SIZE, VIOLATION, *GONE} if over else VIOLATION
    return {
        "STREAM with nothing": (STREAM(0, at, b""), same),
        "STREAM with FIN": (STREAM(0, at, b"", True), same),
        "STREAM with bytes": (STREAM(0, at, LIST[:2]), final),
        "STREAM with bytes and FIN": (STREAM(0, at, LIST[:2], True), final),
        "STREAM with what was sent": (STREAM(0, 0, LIST[:1]), again),
        "STREAM behind a gap": (STREAM(0, at + 1, b"x"), gap),
        "RESET_STREAM": (F(qmux.RESET_STREAM, 0, session.CANCELLED, at), None),
        "RESET_STREAM further on": (F(qmux.RESET_STREAM, 0, session.CANCELLED, at + 1), {FINAL_SIZE, None} if over else final),
        "RESET_STREAM before the end": (F(qmux.RESET_STREAM, 0, session.CANCELLED, at - 1), {FINAL_SIZE, None} if over else FINAL_SIZE) if at else (b"\0", None),
        "STOP_SENDING": (F(qmux.STOP_SENDING, 0, session.CANCELLED), None),
        "STOP_SENDING twice": (F(qmux.STOP_SENDING, 0, session.CANCELLED) * 2, None),
        "MAX_STREAM_DATA": (F(qmux.MAX_STREAM_DATA, 0, 1 << 20), None),
        "STREAM_DATA_BLOCKED": (F(qmux.STREAM_DATA_BLOCKED, 0, 5), None),
        "RESET_STREAM and STOP_SENDING": (F(qmux.RESET_STREAM, 0, 0x41, at) + F(qmux.STOP_SENDING, 0, 0x41), None),
        "STOP_SENDING and RESET_STREAM": (F(qmux.STOP_SENDING, 0, 0x41) + F(qmux.RESET_STREAM, 0, 0x41, at), None),
        "STOP_SENDING and then credit": (F(qmux.STOP_SENDING, 0, 0x41) + F(qmux.MAX_STREAM_DATA, 0, 1 << 21), None),
    }  # fmt: skip


# --- session frames, in every state of an exchange and of a control stream -------------------------------------------

SESSION_FRAMES = {
    "HELLO": S(session.HELLO, HELLO), "GOAWAY": GOAWAY, "OPEN": LIST, "MESSAGE": MESSAGE, "DATA": S(session.DATA, b"x"),
    "empty DATA": S(session.DATA), "END": END, "ERROR": ERROR, "a frame of nobody": S(0x22, b"?"), "grease": S(0x21, b"grease"),
}  # fmt: skip
SPEAKING = {"MESSAGE", "DATA", "empty DATA", "END", "ERROR"}
SKIPPED = {"a frame of nobody", "grease"}
EXCHANGE_STATES = {  # what was said, and what may follow
    "nothing was said": (b"", {"OPEN"}),
    "OPEN": (SENDS, SPEAKING),
    "OPEN and grease": (SENDS + S(0x5F), SPEAKING),
    "END": (SENDS + END, set()),
    "ERROR": (SENDS + ERROR, set()),
}
CONTROL_STATES = {
    "nothing was said": (V(0), {"HELLO"}, application(session.HELLO_MISSING)),
    "grease": (V(0) + S(0x40), {"HELLO"}, application(session.HELLO_MISSING)),
    "HELLO": (control(), {"GOAWAY"}, UNEXPECTED),
    "GOAWAY": (control() + GOAWAY, {"GOAWAY"}, {UNEXPECTED, application(session.NO_ERROR)}),
}


def matrix() -> dict:
    """Name → (how the state is reached, what is sent, what follows)."""
    found = {}
    for state, reach in CONNECTION_STATES.items():
        for name, (data, expected) in CONNECTION_FRAMES.items():
            if name == "a frame of nobody" and state == "before HELLO":
                continue
            found[f"connection, {state}: {name}"] = (reach, framed(data), expected)
    for state, (reach, at) in STREAM_STATES.items():
        for name, (data, expected) in stream_frames(state, at).items():
            found[f"stream, {state}: {name}"] = (reach, framed(data), expected)
    for state, (before, permitted) in EXCHANGE_STATES.items():
        for name, frame in SESSION_FRAMES.items():
            unexpected = None if name in permitted | SKIPPED else UNEXPECTED
            found[f"exchange, after {state}: {name}"] = (greeted, said(0, before + frame), unexpected)
    for name, frame in SESSION_FRAMES.items():
        found[f"exchange, refused: {name}"] = (refused, said(0, frame), None)
    for state, (before, permitted, wrong) in CONTROL_STATES.items():
        for name, frame in SESSION_FRAMES.items():
            expected = None if name in permitted | SKIPPED else wrong
            if "GOAWAY" in (state, name) and expected is None:
                expected = {None, application(session.NO_ERROR)}  # S3.73: nothing is open
            found[f"control stream, after {state}: {name}"] = (parameters, said(2, before + frame), expected)
    return found


def framed(data: bytes):
    return lambda raw: raw.frames(data)


def said(stream: int, data: bytes):
    return lambda raw: raw.stream(stream, data)


# --- limits: one less, the limit, one more -----------------------------------------------------------------------------


def text(size: int) -> str:
    return "a" * size


def open_of(size: int) -> bytes:
    """An OPEN of so many bytes, filled by a key that nobody knows."""
    filled = cbor({0: "chat/1", 1: "room.list", 0xFA: b""})
    return S(session.OPEN, cbor({0: "chat/1", 1: "room.list", 0xFA: bytes(size - len(filled) - 2)})) + MESSAGE + END


def control_of(kind: int, value: dict, size: int) -> bytes:
    filled = cbor(value | {0xFA: b""})
    return S(kind, cbor(value | {0xFA: bytes(size - len(filled) - 2)}))


def hello_of(size: int) -> bytes:
    return V(0) + control_of(session.HELLO, cbor_profile.decode(HELLO), size)


def send(**changes) -> bytes:
    """A `send` whose fields are others; the room does not exist, which is what a good one is told."""
    fields = {"room": 0, "id": 1, "kind": 2, "body": 3, "refs": 4, "mentions": 5, "last": 6}
    value = {0: "nowhere", 1: bytes(16), 2: 1, 3: b"x"} | {fields[key]: value for key, value in changes.items()}
    return request("chat/1", "send", dict(sorted(value.items())))


NOWHERE, TOO_LARGE, TOO_MANY, NAME_INVALID = Fails(0x1101), Fails(0x1105), Fails(0x84), Fails(0x1104)
GIVEN_UP = {Fails(session.FAILED), Resets(session.CANCELLED)}
GOING = {application(session.NO_ERROR)}  # S3.73: nothing is open

# limit, how the case is made of a number, in which state of `cases.py`, what up to the limit is told, what beyond it
LIMITS = {
    "bytes of a record": (16_382, lambda n: qmux.record(PARAMETERS) + V(n) + bytes(n), "FIRST", Answers, ENCODING),
    "max_record_size": (16_381, lambda n: qmux.record(qmux.encode_parameters([*qmux.OURS.items(), (qmux.MAX_RECORD_SIZE, n)])), "FIRST", BAD_PARAMETER, Answers),
    "MAX_STREAMS": (1 << 60, lambda n: F(qmux.MAX_STREAMS_BIDI, n), "MUX", Survives, ENCODING),
    "MAX_STREAMS uni": (1 << 60, lambda n: F(qmux.MAX_STREAMS_UNI, n), "MUX", Survives, ENCODING),
    "bytes of OPEN": (OPEN_LIMIT, open_of, "EXCHANGE", Answers, LIMIT),
    "bytes of MESSAGE": (1 << 20, lambda n: message(b"\xa1\x00\x5a" + (n - 7).to_bytes(4, "big") + bytes(n - 7)), "EXCHANGE", INVALID, LIMIT),
    "bytes of ERROR": (OPEN_LIMIT, lambda n: LIST + control_of(session.ERROR, {0: 0x80, 1: 0, 3: ""}, n), "EXCHANGE", GIVEN_UP, LIMIT),
    "bytes of an unknown frame": (1 << 16, lambda n: S(0x22, bytes(n)) + GOOD, "EXCHANGE", Answers, LIMIT),
    "bytes of DATA": (16 << 20, lambda n: LIST + header(session.DATA, n), "OPEN_END", Whatever, LIMIT),
    "bytes of HELLO": (2_048, hello_of, "CONTROL", Answers, Answers),
    "bytes of GOAWAY": (2_048, lambda n: control() + control_of(session.GOAWAY, {0: 0, 1: 0, 2: ""}, n), "CONTROL", GOING, GOING | {LIMIT}),
    "bytes of an unknown frame on the control stream": (1 << 16, lambda n: control() + S(0x22, bytes(n)), "CONTROL", Answers, LIMIT),
    "extensions": (64, lambda n: hello_with(ids=list(range(n))), "CONTROL", Answers, BAD_MESSAGE),
    "bytes of the agent": (256, lambda n: hello_with(agent=text(n)), "CONTROL", Answers, BAD_MESSAGE),
    "a limit in HELLO": ((1 << 53) - 1, lambda n: hello_with(limits={0: n, 1: n, 2: n}), "CONTROL", Answers, BAD_MESSAGE),
    "an extension id": ((1 << 53) - 1, lambda n: hello_with(ids=[n]), "CONTROL", Answers, BAD_MESSAGE),
    "bytes of GOAWAY's message": (1_024, lambda n: goaway({0: 0, 1: 0, 2: text(n)}), "CONTROL", GOING, BAD_MESSAGE),
    "GOAWAY's code": ((1 << 32) - 1, lambda n: goaway({0: n, 1: 0, 2: ""}), "CONTROL", GOING, BAD_MESSAGE),
    "GOAWAY's time": ((1 << 53) - 1, lambda n: goaway({0: 0, 1: n, 2: ""}), "CONTROL", GOING, BAD_MESSAGE),
    "bytes of the protocol": (64, lambda n: opens({0: text(n), 1: ""}), "EXCHANGE", Fails(session.UNKNOWN_PROTOCOL), INVALID),
    "bytes of the method": (64, lambda n: opens({0: "chat/1", 1: text(n)}), "EXCHANGE", Fails(session.UNKNOWN_METHOD), INVALID),
    "bytes of metadata": (4_096, lambda n: opens({0: "chat/1", 1: "room.list", 3: bytes(n)}), "EXCHANGE", Answers, INVALID),
    "a deadline": ((1 << 53) - 1, lambda n: opens({0: "chat/1", 1: "room.list", 2: n}), "EXCHANGE", Answers, INVALID),
    "bytes of ERROR's message": (1_024, lambda n: LIST + S(session.ERROR, cbor({0: 0x80, 1: 0, 3: text(n)})), "EXCHANGE", GIVEN_UP, BAD_MESSAGE),
    "bytes of ERROR's details": (4_096, lambda n: LIST + S(session.ERROR, cbor({0: 0x80, 1: 0, 3: "", 4: bytes(n)})), "EXCHANGE", GIVEN_UP, BAD_MESSAGE),
    "ERROR's code": ((1 << 32) - 1, lambda n: LIST + S(session.ERROR, cbor({0: n, 1: 0, 3: ""})), "EXCHANGE", Whatever, BAD_MESSAGE),
    "ERROR's time": ((1 << 53) - 1, lambda n: LIST + S(session.ERROR, cbor({0: 0x80, 1: 3, 2: n, 3: ""})), "EXCHANGE", Whatever, BAD_MESSAGE),
    "depth of a message": (16, lambda n: message(b"\xa1\x18\x18" + b"\x81" * (n - 1) + b"\0"), "EXCHANGE", Answers, INVALID),
    "items of a message": (65_536, lambda n: message(b"\xa1\x18\x18\x99" + (n - 3).to_bytes(2, "big") + bytes(n - 3)), "EXCHANGE", Answers, INVALID),
    "an integer": ((1 << 53) - 1, lambda n: message(cbor({24: n})), "EXCHANGE", Answers, INVALID),
    "a negative integer": ((1 << 53) - 1, lambda n: message(cbor({24: -n})), "EXCHANGE", Answers, INVALID),
    "a stranger's MESSAGE": (4_096, lambda n: opening("enroll/1", "redeem") + S(session.MESSAGE, b"\xa1\x18\x18\x59" + (n - 6).to_bytes(2, "big") + bytes(n - 6)), "STRANGER", INVALID, LIMIT),
    "a stranger's unknown frame": (4_096, lambda n: S(0x22, bytes(n)) + request("enroll/1", "nothing", {}), "STRANGER", Fails(session.UNKNOWN_METHOD), LIMIT),
    "bytes of a body": (65_536, lambda n: send(body=bytes(n)), "EXCHANGE", NOWHERE, {TOO_LARGE, NOWHERE}),
    "references": (16, lambda n: send(refs=list(range(1, n + 1))), "EXCHANGE", NOWHERE, {TOO_MANY, NOWHERE}),
    "mentions": (64, lambda n: send(mentions=[n.to_bytes(16, "big") for n in range(n)]), "EXCHANGE", NOWHERE, {TOO_MANY, NOWHERE}),
    "a kind": (65_535, lambda n: send(kind=n), "EXCHANGE", NOWHERE, INVALID),
    "letters of a room's name": (64, lambda n: request("chat/1", "room.create", {0: n.to_bytes(16, "big"), 1: text(n)}), "EXCHANGE", Answers, NAME_INVALID),
    "bytes of a topic": (1_024, lambda n: request("chat/1", "room.create", {0: (n + 9_000).to_bytes(16, "big"), 1: f"topic-{n}", 2: text(n)}), "EXCHANGE", Answers, {TOO_MANY, TOO_LARGE}),
}  # fmt: skip
EXACT = {"bytes of a message id": (16, lambda n: send(id=bytes(n))), "bytes of a room's id": (16, lambda n: send(room=bytes(n)))}


def limits() -> dict:
    """Name → (state, bytes, what follows), for the number before each limit, the limit, and the one behind it."""
    found = {}
    for name, (limit, build, state, within, beyond) in LIMITS.items():
        for number, expected in ((limit - 1, within), (limit, within), (limit + 1, beyond)):
            found[f"{name}: {limit}{number - limit:+d}"] = (state, build(number), expected)
    for name, (limit, build) in EXACT.items():
        for number in (limit - 1, limit, limit + 1):
            found[f"{name}: {limit}{number - limit:+d}"] = ("EXCHANGE", build(number), NOWHERE if number == limit else INVALID)
    return found


# --- CBOR off the profile, in every place where there is CBOR ----------------------------------------------------------


def off_profile() -> dict:
    """Each vector that the profile refuses, as HELLO, GOAWAY, OPEN and ERROR; `cases.py` has it as MESSAGE."""
    found = {}
    for vector in test_vectors.vectors("cbor"):
        if vector["accepted"]:
            continue
        data, why = bytes.fromhex(vector["hex"]), vector["why"]
        found[f"HELLO, {why}"] = ("CONTROL", hello(data), BAD_MESSAGE)
        found[f"GOAWAY, {why}"] = ("CONTROL", goaway(data), BAD_MESSAGE)
        found[f"OPEN, {why}"] = ("EXCHANGE", opens(data), INVALID)
        found[f"ERROR, {why}"] = ("EXCHANGE", LIST + S(session.ERROR, data), BAD_MESSAGE)
    return found

