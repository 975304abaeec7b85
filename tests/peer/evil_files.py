"""What an evil server does with files, in both directions."""

import functools

import evil
import session
from evil import BYTES, END, FILE_HEAD, ROOT, S, block, close, message, once
from evil_case import GET, HOSTILE_TEXT, MANY, SEND, case

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
