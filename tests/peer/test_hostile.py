"""Runs every case of `cases.py` against a real server: the code it must answer, and whether the connection survives."""

import re
import time
import unittest

import cases
import qmux
import session
from hostile import run_case, seen
from harness import Raw, Server, Watched, control



class Hostile(Watched, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stranger = cls.server.new_device("stranger")

    def run_case(self, state: str, data: bytes | None, expected) -> None:
        run_case(self, state, data, expected)


class Limits(unittest.TestCase):
    """Limits that a server says while it runs: up to them all is well, beyond them the code is exact."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def raw(self, device=None) -> Raw:
        raw = Raw(self.server, device)
        self.addCleanup(raw.close)
        raw.start()
        raw.granted(1 if device else 2)
        return raw

    def check(self, raw: Raw, expected) -> None:
        """Closed as expected, or (None) alive."""
        alive = raw.pongs()
        self.assertEqual(None if alive else seen(raw, expected), expected, raw.closed)

    def test_streams_at_the_limit(self):
        for direction in (0, 2):
            for beyond, expected in ((-2, None), (-1, None), (0, cases.STREAM_LIMIT), (1, cases.STREAM_LIMIT)):
                with self.subTest(direction=direction, beyond=beyond):
                    raw = self.raw()
                    index = raw.listener.may_open[direction] + beyond
                    raw.frames(cases.F(qmux.RESET_STREAM, index << 2 | direction, session.CANCELLED, 0))
                    self.check(raw, expected)

    def test_bytes_of_a_stream_at_the_limit(self):
        for beyond, expected in ((-1, None), (0, None), (1, cases.FLOW)):
            with self.subTest(beyond=beyond):
                raw = self.raw()
                limit = raw.listener.theirs[qmux.BIDI_REMOTE]
                self.assertLessEqual(limit, raw.listener.send_limit - raw.offsets[2])
                raw.frames(cases.F(qmux.RESET_STREAM, 0, session.CANCELLED, limit + beyond))
                self.check(raw, expected)

    def test_bytes_of_a_connection_at_the_limit(self):
        stranger = self.server.new_device("limits")
        for beyond, expected in ((-1, None), (0, None), (1, cases.FLOW)):
            with self.subTest(beyond=beyond):
                raw = Raw(self.server, stranger)
                self.addCleanup(raw.close)
                first = cases.F(qmux.RESET_STREAM, 0, session.CANCELLED, 16_384 + beyond)
                raw.frames(cases.PARAMETERS, first)
                raw.until(lambda: raw.listener.send_limit >= 16_384 + beyond + len(control()))  # S2.24: it is given again
                raw.stream(2, control())
                self.check(raw, expected)

    def test_a_limit_below_the_least_harms_nobody_but_its_sender(self):
        raw = Raw(self.server)
        self.addCleanup(raw.close)
        raw.start(cases.cbor({0: {0: 0, 1: 0, 2: 0}, 1: [], 2: ""}))
        raw.granted(2)
        raw.stream(0, cases.GOOD, fin=True)
        self.assertTrue(raw.until(lambda: raw.finished(0)))
        self.check(raw, None)

    def test_a_thousand_exchanges_at_once(self):
        raw = self.raw()
        raw.granted(1_000)
        count = min(raw.listener.may_open[0], 1_000)
        for index in range(count):
            raw.stream(index << 2, cases.GOOD, fin=True)
        self.assertTrue(raw.until(lambda: all(raw.finished(index << 2) for index in range(count))))
        kinds = {tuple(kind for kind, _ in raw.answer(index << 2)) for index in range(count)}
        self.assertEqual(kinds, {(session.MESSAGE, session.END)})

    def test_a_second_exchange_of_a_stranger_after_the_first(self):
        raw = self.raw(self.server.new_device("twice"))
        raw.stream(0, cases.GOOD, fin=True)
        raw.until(lambda: raw.finished(0) and raw.listener.may_open[0] > 1, timeout=2)
        raw.stream(4, cases.GOOD, fin=True)
        raw.until(raw.over)
        self.assertEqual(seen(raw, None), cases.application(session.STRANGER_LIMIT), raw.closed)

    def test_times(self):
        """What a server waits for, and for how long: all at once, so that it takes as long as the longest."""
        silent, mute = Raw(self.server), Raw(self.server)  # TLS and nothing; parameters and no HELLO
        mute.frames(cases.PARAMETERS)
        unopened = self.raw()
        unopened.stream(0, cases.LIST[:4])
        stranger = self.raw(self.server.new_device("waiting"))
        began = time.monotonic()
        for raw, expected, least in (
            (silent, cases.application(session.HANDSHAKE_TIMEOUT), 3),
            (mute, cases.application(session.HANDSHAKE_TIMEOUT), 3),
            (stranger, cases.application(session.STRANGER_LIMIT), 8),
        ):
            self.addCleanup(raw.close)
            raw.until(lambda: False, timeout=20)
            self.assertEqual(seen(raw, expected), expected, raw.closed)
            self.assertGreater(time.monotonic() - began, least)
        unopened.until(lambda: 0 in unopened.resets, timeout=20)
        self.assertEqual(unopened.resets.get(0), session.STREAM_DEADLINE)
        self.assertTrue(unopened.lives(4))


class Cuts(unittest.TestCase):
    """One good conversation, in every shape in which bytes can arrive, and with every end it can have too early."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        stream = control()
        cls.records = [
            qmux.record(cases.PARAMETERS),
            qmux.record(qmux.stream_frame(2, 0, stream), bytes(2)),
            qmux.record(qmux.stream_frame(0, 0, cases.S(0x21, b"grease") + cases.GOOD[:9])),
            qmux.record(bytes(3), qmux.stream_frame(0, 17, cases.GOOD[9:], fin=True)),
        ]
        assert len(cases.S(0x21, b"grease")) == 8
        cls.whole = b"".join(cls.records)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def answered(self, *pieces: bytes) -> bool:
        raw = Raw(self.server)
        try:
            for piece in pieces:
                raw.write(piece)
            raw.until(lambda: raw.finished(0))
            return [kind for kind, _ in raw.answer(0)] == [session.MESSAGE, session.END]
        finally:
            raw.close()

    def test_all_in_one_piece(self):
        self.assertTrue(self.answered(self.whole))

    def test_byte_by_byte(self):
        self.assertTrue(self.answered(*(self.whole[at : at + 1] for at in range(len(self.whole)))))

    def test_cut_in_two_at_every_byte(self):
        for at in range(1, len(self.whole)):
            with self.subTest(at=at):
                self.assertTrue(self.answered(self.whole[:at], self.whole[at:]))

    def test_an_end_after_every_byte_harms_nobody_else(self):
        descriptors = self.server.descriptors()
        other = Raw(self.server)
        self.addCleanup(other.close)
        other.start()
        for at in range(0, len(self.whole)):
            raw = Raw(self.server)
            raw.write(self.whole[:at])
            raw.close()
        self.assertTrue(other.lives(0))
        give_up = time.monotonic() + 15
        while self.server.descriptors() > descriptors + 1 and time.monotonic() < give_up:
            time.sleep(0.1)
        self.assertLessEqual(self.server.descriptors(), descriptors + 1)

    def test_every_byte_changed_in_turn_harms_nobody_else(self):
        other = Raw(self.server)
        self.addCleanup(other.close)
        other.start()
        for at in range(0, len(self.whole)):
            with self.subTest(at=at):
                raw = Raw(self.server)
                raw.write(self.whole[:at] + bytes([self.whole[at] ^ 0xFF]) + self.whole[at + 1 :])
                raw.close()
        self.assertTrue(other.lives(0))


def add(state: str, name: str, data: bytes | None, expected) -> None:
    words = re.sub(r"[^a-z0-9]+", "_", f"{state} {name}".lower().replace(" -", " minus ")).strip("_")
    assert not hasattr(Hostile, f"test_{words}"), words
    setattr(Hostile, f"test_{words}", lambda self: self.run_case(state, data, expected))


for _state in ("FIRST", "MUX", "CONTROL", "EXCHANGE", "OPEN_END", "STRANGER", "STRANGER_MUX"):
    for _name, (_data, _expected) in getattr(cases, _state).items():
        add(_state, _name, _data, _expected)

if __name__ == "__main__":
    unittest.main()
