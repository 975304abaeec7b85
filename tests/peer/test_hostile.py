"""Runs every case of `cases.py` against a real server: the code it must answer, and whether the connection survives."""

import re
import time
import unittest

import cases
import qmux
import session
from cases import Answers, Closes, Ends, Fails, Resets, Stops, Survives
from harness import Raw, Server, control

RESIDENT_KIB = 96 << 10  # what a server may hold afterwards, debug build included


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


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.stranger = cls.server.new_device("stranger")
        cls.descriptors = cls.server.descriptors()

    @classmethod
    def tearDownClass(cls):
        try:
            give_up = time.monotonic() + 15
            while cls.server.descriptors() > cls.descriptors and time.monotonic() < give_up:
                time.sleep(0.1)
            held, resident = cls.server.descriptors() - cls.descriptors, cls.server.resident_kib()
            print(f"\nafterwards: {held} descriptors more than before, {resident >> 10} MiB resident")
            assert held <= 0, f"{held} descriptors were not given back"
            assert resident < RESIDENT_KIB, f"{resident} KiB resident"
        finally:
            cls.server.stop()

    def run_case(self, state: str, data: bytes | None, expected) -> None:
        raw = Raw(self.server, self.stranger if state.startswith("STRANGER") else None)
        try:
            wanted = expected if isinstance(expected, set) else {expected}
            self.write(raw, state, data)
            survivor = 4 if state in ("EXCHANGE", "OPEN_END", "STRANGER") or raw.offsets.get(0) or state == "MUX" else 0
            example = next(iter(wanted))
            if isinstance(example, Stops):
                raw.until(lambda: example.stream in raw.stops)
            elif example is Answers and survivor == 0:
                self.assertTrue(raw.lives(0), f"the connection did not survive: {raw.closed}")
                return
            elif example is not Survives:
                raw.until(lambda: raw.finished(0))
            self.assertIn(seen(raw, example), wanted, raw.closed)
            if raw.over():
                pass
            elif state.startswith("STRANGER"):  # only one exchange is theirs
                self.assertTrue(raw.pongs(), f"the connection did not survive: {raw.closed}")
            else:
                self.assertTrue(raw.lives(survivor), f"the connection did not survive: {raw.closed}")
        finally:
            raw.close()

    def write(self, raw: Raw, state: str, data: bytes | None) -> None:
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


def add(state: str, name: str, data: bytes | None, expected) -> None:
    words = re.sub(r"[^a-z0-9]+", "_", f"{state} {name}".lower().replace(" -", " minus ")).strip("_")
    assert not hasattr(Hostile, f"test_{words}"), words
    setattr(Hostile, f"test_{words}", lambda self: self.run_case(state, data, expected))


for _state in ("FIRST", "MUX", "CONTROL", "EXCHANGE", "OPEN_END", "STRANGER", "STRANGER_MUX"):
    for _name, (_data, _expected) in getattr(cases, _state).items():
        add(_state, _name, _data, _expected)

if __name__ == "__main__":
    unittest.main()
