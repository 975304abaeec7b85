"""What an evil server answers: to whoever talks, reads rooms, joins."""

import functools
import time

import evil
import session
import varint
from evil import END, HELLO, MTIME, NAME, ROOM, S, cbor, head, message, once, record, says
from evil_case import FOLLOW, GET, GOAWAY, HOSTILE_TEXT, JOIN, LIST, MANY, SAY, SEND, STATUS, TAIL
from evil_case import answer, case, failing, pages

ASKS = {"status": (STATUS, "accounts/1/whoami"), "list": (LIST, "chat/1/room.list"), "join": (JOIN, "enroll/1/redeem"), "tail": (TAIL, "chat/1/history")}


# --- answers -----------------------------------------------------------------------------------------------------------



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
