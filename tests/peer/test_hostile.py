"""Runs every case of `cases.py` against a real server: the code it must answer, and whether the connection survives."""

import re
import time
import unittest

import blake3
import cases
import identity
import qmux
import session
from hostile import run_case, seen
from harness import Raw, Watched, control, opening, request


class Hostile(Watched, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stranger = cls.server.new_device("stranger")

    def run_case(self, state: str, data: bytes | None, expected) -> None:
        run_case(self, state, data, expected)


class Limits(Watched, unittest.TestCase):
    """Limits that a server says while it runs: up to them all is well, beyond them the code is exact."""

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
                raw.close()  # few connections at once have so much

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


class Cuts(Watched, unittest.TestCase):
    """One good conversation, in every shape in which bytes can arrive, and with every end it can have too early."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stream = control()
        cls.records = [
            qmux.record(cases.PARAMETERS),
            qmux.record(qmux.stream_frame(2, 0, stream), bytes(2)),
            qmux.record(qmux.stream_frame(0, 0, cases.S(0x21, b"grease") + cases.GOOD[:9])),
            qmux.record(bytes(3), qmux.stream_frame(0, 17, cases.GOOD[9:], fin=True)),
        ]
        assert len(cases.S(0x21, b"grease")) == 8
        cls.whole = b"".join(cls.records)

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
        other = Raw(self.server)
        self.addCleanup(other.close)
        other.start()
        for at in range(0, len(self.whole)):
            raw = Raw(self.server)
            raw.write(self.whole[:at])
            raw.close()
        self.assertTrue(other.lives(0))

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


class Talks(Watched, unittest.TestCase):
    """Two whole conversations, cut off behind every byte: a stranger enrols; a member speaks, reads, and sends a file."""

    CONTENT = b"a parcel of some bytes"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with cls.server.connect() as peer:
            peer.create_room("talks")
        link = cls.server.run("server", "invite", "create", "--data", cls.server.data).strip()
        _, _, invite, secret = identity.parse_link(link)
        cls.newcomer = cls.server.new_device("newcomer")
        cls.enrolling = request("enroll/1", "redeem", {0: invite, 1: secret, 2: "zoe", 3: "pc"})

    def member(self, number: int) -> list[bytes]:
        """What a member says on its exchanges. The same number is the same message and the same transfer."""
        name, cbor = number.to_bytes(16, "big"), session.cbor_profile.encode
        root, content = blake3.digest(self.CONTENT), self.CONTENT
        offer = {0: name, 1: [0, "talks"], 2: b"parcel.txt", 3: 0, 4: len(content)}
        put = opening("files/1", "put")
        for step in (offer, [0, {1: 0, 2: len(content), 3: blake3.group(0, content)}]):
            put += session.frame(session.MESSAGE, cbor(step))
        put += session.frame(session.DATA, content)
        put += session.frame(session.MESSAGE, cbor([1, {1: len(content), 2: root}])) + session.frame(session.END)
        said = {0: "talks", 1: name[::-1], 2: 1, 3: b"one message"}
        return [request("chat/1", "send", said), request("chat/1", "history", {0: "talks", 1: 1}), put]

    def hold(self, raw: Raw, exchanges: list[bytes], bytes_said: int | None = None) -> int:
        """Says so many bytes of a conversation, or all of it; returns how many there are."""
        first = [qmux.record(cases.PARAMETERS), qmux.record(qmux.stream_frame(2, 0, control()))]
        rest = [qmux.record(qmux.stream_frame(index << 2, 0, data, fin=True)) for index, data in enumerate(exchanges)]
        left = bytes_said
        for number, piece in enumerate(first + rest):
            if number == 3 and (left is None or left > 0):  # a second exchange has to be granted first
                self.assertTrue(raw.granted(len(exchanges)), raw.closed)
            raw.write(piece if left is None else piece[:left])
            left = None if left is None else max(0, left - len(piece))
        return sum(map(len, first + rest))

    def whole(self, device, exchanges: list[bytes]) -> int:
        """Holds it, and sees every exchange end well."""
        raw = Raw(self.server, device)
        try:
            size = self.hold(raw, exchanges)
            for index in range(len(exchanges)):
                self.assertTrue(raw.until(lambda: raw.finished(index << 2)), (index, raw.closed, raw.answer(index << 2)))
                kinds = [kind for kind, _ in raw.answer(index << 2)]
                self.assertEqual((kinds[0], kinds[-1]), (session.MESSAGE, session.END), raw.answer(index << 2))
            return size
        finally:
            raw.close()

    def cut(self, device, exchanges, size: int) -> None:
        """An end behind each byte harms nobody: the last one is served as the first one was."""
        for at in range(size):
            raw = Raw(self.server, device)
            self.hold(raw, exchanges(at), at)
            raw.close()

    def test_a_member_is_cut_off_behind_every_byte(self):
        size = self.whole(None, self.member(1))
        self.assertGreater(size, 300)
        self.cut(None, lambda at: self.member(1_000 + at), size)
        self.assertEqual(self.whole(None, self.member(2)), size)
        with self.server.connect() as peer:
            bodies = [event.body for event in peer.tail("talks") if event.kind == 1]
        # Both whole ones, and of those that were cut off who had said all of it: each once, and no half one.
        self.assertEqual(set(bodies), {b"one message"})

    def test_a_stranger_is_cut_off_behind_every_byte_and_enrols_in_the_end(self):
        raw = Raw(self.server, self.newcomer)
        size = self.hold(raw, [self.enrolling], 0)
        raw.close()
        # The last bytes complete it: whoever is enrolled by them says the same again, and hears the same (S6.27).
        self.cut(self.newcomer, lambda _: [self.enrolling], size)
        self.assertEqual(self.whole(self.newcomer, [self.enrolling]), size)


def add(state: str, name: str, data: bytes | None, expected) -> None:
    words = re.sub(r"[^a-z0-9]+", "_", f"{state} {name}".lower().replace(" -", " minus ")).strip("_")
    assert not hasattr(Hostile, f"test_{words}"), words
    setattr(Hostile, f"test_{words}", lambda self: self.run_case(state, data, expected))


for _state in ("FIRST", "MUX", "CONTROL", "EXCHANGE", "OPEN_END", "STRANGER", "STRANGER_MUX"):
    for _name, (_data, _expected) in getattr(cases, _state).items():
        add(_state, _name, _data, _expected)

if __name__ == "__main__":
    unittest.main()
