"""Running one case of a table against a server, and saying what the server did in the table's terms."""

import cases
import qmux
import session
from cases import Answers, Closes, Ends, Fails, Resets, Stops, Survives, Whatever
from harness import Raw, control


def seen(raw: Raw, expected) -> object:
    """What the server did, in the terms of the expectation."""
    if raw.over():
        return Closes(raw.closed.code, raw.closed.application) if raw.closed is not None else Ends
    if isinstance(expected, Stops):
        return Stops(expected.stream, raw.stops.get(expected.stream))
    if 0 in raw.resets:
        return Resets(raw.resets[0])
    frames = raw.answer(0)
    if frames and frames[-1][0] == session.ERROR:
        return Fails(session.cbor_profile.decode(frames[-1][1])[0])
    return Answers if frames and frames[-1][0] == session.END else Survives


def run_case(test, state: str, data: bytes | None, expected) -> None:
    raw = Raw(test.server, test.stranger if state.startswith("STRANGER") else None)
    try:
        wanted = expected if isinstance(expected, set) else {expected}
        write(raw, state, data)
        survivor = 4 if state in ("EXCHANGE", "OPEN_END", "STRANGER") or raw.offsets.get(0) or state == "MUX" else 0
        example = next(iter(wanted))
        if isinstance(example, Stops):
            raw.until(lambda: example.stream in raw.stops)
        elif example is Answers and survivor == 0:
            test.assertTrue(raw.lives(0), f"the connection did not survive: {raw.closed}")
            return
        elif example not in (Survives, Whatever):
            raw.until(lambda: raw.finished(0))
        if wanted != {Whatever}:
            test.assertIn(seen(raw, example), wanted, raw.closed)
        if raw.over():
            pass
        elif state.startswith("STRANGER"):  # only one exchange is theirs
            test.assertTrue(raw.pongs(), f"the connection did not survive: {raw.closed}")
        else:
            test.assertTrue(raw.lives(survivor), f"the connection did not survive: {raw.closed}")
    finally:
        raw.close()


def write(raw: Raw, state: str, data: bytes | None) -> None:
    if state == "FIRST":
        raw.write(data)
        raw.stream(2, control())
    elif state == "CONTROL":
        raw.write(qmux.record(cases.PARAMETERS))
        raw.stream(2, data or b"\0", fin=data is None)
    else:
        raw.start()
        if state.endswith("MUX"):
            raw.granted(1 if state.startswith("STRANGER") else 2)
            raw.frames(data)
        else:
            raw.stream(0, data, fin=state != "OPEN_END")
