"""Every frame in every state, every limit from both sides, CBOR off the profile wherever there is CBOR (`matrix.py`)."""

import re
import unittest

import matrix
from cases import Closes, Ends
from harness import Raw, Watched, control
from hostile import run_case


class Matrix(Watched, unittest.TestCase):
    """Frames in states: the code, or that the connection survives."""

    def run_case(self, reach, act, expected) -> None:
        raw = Raw(self.server)
        try:
            reach(raw)
            self.assertFalse(raw.over(), raw.closed)
            act(raw)
            wanted = expected if isinstance(expected, set) else {expected}
            if None not in wanted:
                raw.until(raw.over)
            elif wanted == {None} and reach is not matrix.ended and raw.offsets.get(0) and raw.offsets.get(2) == len(control()):
                raw.lives(4)  # a whole exchange later it is still there
            else:
                raw.pongs(77)
            found = None
            if raw.over():
                found = Ends if raw.closed is None else Closes(raw.closed.code, raw.closed.application)
            self.assertIn(found, wanted, raw.closed)
        finally:
            raw.close()


class InState(Watched):
    """Bytes in one of the states of `cases.py`."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stranger = cls.server.new_device("stranger")

    def run_case(self, state, data, expected) -> None:
        run_case(self, state, data, expected)


class Limits(InState, unittest.TestCase):
    """One less than a limit, the limit, and one more."""


class OffProfile(InState, unittest.TestCase):
    """CBOR that the profile refuses, as HELLO, GOAWAY, OPEN and ERROR."""


def add(suite: type, cases: dict) -> None:
    for name, case in cases.items():
        words = re.sub(r"[^a-z0-9]+", "_", name.lower().replace("+", " plus ").replace("-", " minus ")).strip("_")
        assert not hasattr(suite, f"test_{words}"), words
        setattr(suite, f"test_{words}", lambda self, case=case: self.run_case(*case))


add(Matrix, matrix.matrix())
add(Limits, matrix.limits())
add(OffProfile, matrix.off_profile())

if __name__ == "__main__":
    unittest.main()
