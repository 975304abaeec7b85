"""Abuse over time: races of resets and stops, floods, GOAWAY, deadlines, order of bytes. After each the server must hold no more
than before (`Watched`), and others must not notice."""

import os
import random
import time
import unittest

import cases
import cbor_profile
import qmux
import session
import varint
from cases import F, GOOD, LIST, S, SENDS, STREAM, application, cbor
from harness import Raw, Watched, control, opening, request

SEED = int(os.environ.get("HIKYAKU_SEED", "1"))
DEADLINES = (
    ("chat/1", "room.list"), ("chat/1", "room.create"), ("chat/1", "resolve"), ("chat/1", "send"), ("chat/1", "history"), ("chat/1", "sync"),
    ("accounts/1", "whoami"), ("accounts/1", "user.list"), ("accounts/1", "device.list"), ("accounts/1", "invite.list"),
    ("files/1", "put"), ("files/1", "get"),
)  # fmt: skip


class Abuse(Watched, unittest.TestCase):
    def raw(self, device=None) -> Raw:
        raw = super().raw(device)
        self.raws.append(raw)
        return raw

    def setUp(self):
        self.raws = []
        self.other = self.raw()

    def tearDown(self):
        self.assertTrue(self.other.pongs(1 << 50), "another connection noticed")
        for raw in self.raws:
            raw.close()
        super().tearDown()

    def closes(self, raw: Raw, expected) -> None:
        raw.until(raw.over)
        self.assertIsNotNone(raw.closed, "the connection just ended")
        self.assertEqual(cases.Closes(raw.closed.code, raw.closed.application), expected, raw.closed)

    # --- resets and stops ----------------------------------------------------------------------------------------------

    def race(self, *steps) -> None:
        """Each step on a stream of its own, at once and behind each other; the connection lives."""
        raw = self.raw()
        raw.granted(64)
        for round in range(8):
            raw.frames(*[frame for frame in steps_of(steps, round << 2)])
        self.assertTrue(raw.lives(8 << 2), raw.closed)

    def test_a_reset_behind_a_whole_request(self):
        self.race(lambda s: STREAM(s, 0, GOOD, True), lambda s: F(qmux.RESET_STREAM, s, 0x41, len(GOOD)))

    def test_a_stop_behind_a_whole_request(self):
        self.race(lambda s: STREAM(s, 0, GOOD, True), lambda s: F(qmux.STOP_SENDING, s, 0x41))

    def test_a_stop_before_the_request(self):
        self.race(lambda s: F(qmux.STOP_SENDING, s, 0x41), lambda s: STREAM(s, 0, GOOD, True))

    def test_a_reset_and_then_a_stop(self):
        self.race(lambda s: STREAM(s, 0, SENDS), lambda s: F(qmux.RESET_STREAM, s, 0x41, len(SENDS)), lambda s: F(qmux.STOP_SENDING, s, 0x41))

    def test_a_stop_and_then_a_reset(self):
        self.race(lambda s: STREAM(s, 0, SENDS), lambda s: F(qmux.STOP_SENDING, s, 0x41), lambda s: F(qmux.RESET_STREAM, s, 0x41, len(SENDS)))

    def test_stops_again_and_again(self):
        self.race(lambda s: STREAM(s, 0, SENDS), *[lambda s: F(qmux.STOP_SENDING, s, 0x41)] * 20)

    def test_a_reset_after_every_byte_of_a_request(self):
        raw = self.raw()
        for index in range(len(GOOD) + 1):
            raw.granted(index + 1)
            raw.frames(STREAM(index << 2, 0, GOOD[:index]), F(qmux.RESET_STREAM, index << 2, session.CANCELLED, index))
        self.assertTrue(raw.lives(len(GOOD) + 1 << 2), raw.closed)

    def test_a_stop_after_every_byte_of_a_request(self):
        raw = self.raw()
        for index in range(len(GOOD) + 1):
            raw.granted(index + 1)
            raw.frames(STREAM(index << 2, 0, GOOD[:index]), F(qmux.STOP_SENDING, index << 2, session.CANCELLED))
            raw.frames(STREAM(index << 2, index, GOOD[index:], True))
        self.assertTrue(raw.lives(len(GOOD) + 1 << 2), raw.closed)

    def test_a_reset_while_the_answer_is_on_its_way(self):
        raw = self.raw()
        for index in range(50):
            raw.granted(index + 1)
            raw.stream(index << 2, opening("chat/1", "sync"))
            raw.frames(F(qmux.RESET_STREAM, index << 2, session.CANCELLED, raw.offsets[index << 2]), F(qmux.STOP_SENDING, index << 2, session.CANCELLED))
        self.assertTrue(raw.lives(50 << 2), raw.closed)

    def test_ten_thousand_exchanges_opened_and_reset(self):
        """Rapid reset: each is allowed, none may be kept."""
        raw = self.raw()
        for begin in range(0, 10_000, 25):
            self.assertTrue(raw.granted(begin + 25), raw.closed)
            raw.frames(*(STREAM(index << 2, 0, LIST) + F(qmux.RESET_STREAM, index << 2, 0x41, len(LIST)) + F(qmux.STOP_SENDING, index << 2, 0x41) for index in range(begin, begin + 25)))
        self.assertTrue(raw.lives(10_000 << 2), raw.closed)

    # --- order ---------------------------------------------------------------------------------------------------------

    def test_pieces_in_any_order_but_one_are_a_violation(self):
        shuffled = random.Random(SEED)
        for attempt in range(20):
            pieces = [(at, GOOD[at : at + 7]) for at in range(0, len(GOOD), 7)]
            right = list(pieces)
            while pieces == right:
                shuffled.shuffle(pieces)
            with self.subTest(seed=SEED, attempt=attempt):
                raw = self.raw()
                raw.frames(*(STREAM(0, at, piece) for at, piece in pieces))
                self.closes(raw, cases.VIOLATION)

    def test_two_exchanges_woven_together_byte_by_byte(self):
        raw = self.raw()
        for at in range(len(GOOD)):
            last = at == len(GOOD) - 1
            raw.frames(STREAM(0, at, GOOD[at : at + 1], last), STREAM(4, at, GOOD[at : at + 1], last))
        raw.until(lambda: raw.finished(0) and raw.finished(4))
        self.assertEqual([kind for kind, _ in raw.answer(0)], [session.MESSAGE, session.END])
        self.assertEqual(raw.read[0], raw.read[4])

    def test_a_request_cut_into_two_frames_at_every_byte(self):
        raw = self.raw()
        for at in range(1, len(GOOD)):
            stream = at - 1 << 2
            raw.granted(at)
            raw.frames(STREAM(stream, 0, GOOD[:at]))
            raw.frames(STREAM(stream, at, GOOD[at:], True))
        raw.until(lambda: all(raw.finished(at - 1 << 2) for at in range(1, len(GOOD))))
        self.assertEqual({tuple(kind for kind, _ in raw.answer(at - 1 << 2)) for at in range(1, len(GOOD))}, {(session.MESSAGE, session.END)})

    def test_records_cut_and_joined_at_every_byte_of_the_byte_stream(self):
        """One connection, one conversation; what the socket gets is cut at every place, records or not."""
        raw = self.raw()
        whole = b"".join(qmux.record(STREAM(index << 2, 0, GOOD, True)) for index in range(2))
        self.assertLess(len(whole), 200)
        for at in range(1, len(whole)):
            first = (at - 1) * 2
            raw.granted(first + 2)
            data = b"".join(qmux.record(STREAM(index << 2, 0, GOOD, True)) for index in (first, first + 1))
            raw.write(data[:at])
            raw.write(data[at:])
        last = 2 * (len(whole) - 1)
        raw.until(lambda: all(raw.finished(index << 2) for index in range(last)))
        self.assertEqual({tuple(kind for kind, _ in raw.answer(index << 2)) for index in range(last)}, {(session.MESSAGE, session.END)})

    # --- floods --------------------------------------------------------------------------------------------------------

    def flood(self, data: bytes, times: int) -> None:
        """The same record again and again."""
        raw = self.raw()
        for _ in range(times):
            if not raw.write(data):
                break
        self.lives_or_limited(raw)

    def lives_or_limited(self, raw: Raw) -> None:
        """The server goes on, or ends it because of so many frames that carry nothing (S3.90): it names its limit."""
        if not raw.pongs(1 << 55):
            found = raw.closed and cases.Closes(raw.closed.code, raw.closed.application)
            self.assertIn(found, (cases.VIOLATION, cases.LIMIT), raw.closed)
            self.assertIn("in a second", raw.closed.reason)

    def test_a_flood_of_datagrams_of_nobody(self):
        self.flood(qmux.record((F(0x31, 1_001) + varint.encode(9) + bytes(1_000)) * 16), 1_000)

    def test_a_flood_of_datagrams_of_an_exchange(self):
        raw = self.raw()
        raw.stream(0, SENDS)
        record = qmux.record((F(0x31, 1_001) + varint.encode(0) + bytes(1_000)) * 16)
        for _ in range(1_000):
            raw.write(record)
        self.assertTrue(raw.lives(4), raw.closed)

    def test_a_flood_of_datagrams_of_ten_thousand_exchanges(self):
        raw = self.raw()
        for begin in range(0, 10_000, 100):
            raw.frames(*(F(0x31, len(varint.encode(number)) + 1) + varint.encode(number) + b"x" for number in range(begin * 2, begin * 2 + 200, 2)))
        self.assertTrue(raw.lives(0), raw.closed)

    def test_a_flood_of_empty_datagrams(self):
        self.flood(qmux.record((F(0x31, 1) + varint.encode(9)) * 5_000), 40)

    def test_a_flood_of_padding(self):
        self.flood(qmux.record(bytes(16_000)), 1_000)

    def test_a_flood_of_empty_stream_frames(self):
        raw = self.raw()
        raw.stream(0, SENDS)
        record = qmux.record(STREAM(0, len(SENDS), b"") * 2_000)
        for _ in range(50):
            raw.write(record)
        self.lives_or_limited(raw)

    def test_a_flood_of_empty_data(self):
        raw = self.raw()
        raw.stream(0, LIST + S(session.DATA) * 100_000)
        self.lives_or_limited(raw)

    def test_a_flood_of_unknown_frames(self):
        raw = self.raw()
        raw.stream(0, S(0x21, bytes(16_000)) * 500)
        raw.stream(2, S(0x40, bytes(16_000)) * 500)
        self.assertTrue(raw.lives(4), raw.closed)

    def test_a_flood_of_credit(self):
        raw = self.raw()
        raw.stream(0, SENDS)
        for credit in range(0, 100_000, 1_000):
            raw.frames(*(F(qmux.MAX_DATA, 1 << 30 | credit + n) + F(qmux.MAX_STREAM_DATA, 0, 1 << 30 | credit + n) for n in range(500)))
        self.lives_or_limited(raw)

    def test_a_flood_of_blocked(self):
        self.flood(qmux.record((F(qmux.DATA_BLOCKED, 1) + F(qmux.STREAMS_BLOCKED_BIDI, 1)) * 3_000), 40)

    def test_a_flood_of_pings(self):
        raw = self.raw()
        for begin in range(0, 100_000, 1_000):
            raw.frames(*(F(qmux.PING, number) for number in range(begin, begin + 1_000)))
        self.lives_or_limited(raw)

    def test_a_flood_of_pings_by_somebody_who_does_not_read(self):
        raw = self.raw()
        for begin in range(0, 300_000, 1_000):
            raw.frames(*(F(qmux.PING, number) for number in range(begin, begin + 1_000)))

    def test_a_flood_of_unidirectional_streams(self):
        raw = self.raw()
        for index in range(1, 1_000):
            self.assertTrue(raw.until(lambda: raw.listener.may_open[2] > index), f"no credit for stream {index}")
            raw.frames(STREAM(index << 2 | 2, 0, varint.encode(0x21) + b"?"))
            raw.frames(F(qmux.RESET_STREAM, index << 2 | 2, 0x42, 2))
        self.assertTrue(raw.lives(0), raw.closed)

    def test_a_thousand_connections_that_say_nothing_more(self):
        for _ in range(20):
            raws = [Raw(self.server) for _ in range(10)]
            for raw in raws:
                raw.write(qmux.record(cases.PARAMETERS))
            for raw in raws:
                raw.close()

    def test_a_follower_who_grants_no_credit(self):
        """Ten thousand rooms' worth of cursors, and nothing is read."""
        raw = Raw(self.server)
        self.raws.append(raw)
        raw.write(qmux.record(qmux.encode_parameters(qmux.OURS | {qmux.BIDI_LOCAL: 0, qmux.INITIAL_MAX_DATA: 300})))
        raw.stream(2, control())
        raw.granted(2)
        cursors = [{0: index.to_bytes(16, "big"), 1: 0, 2: 1, 3: 0} for index in range(1_000)]
        raw.stream(0, opening("chat/1", "sync") + S(session.MESSAGE, cbor({0: cursors})) * 10)
        self.assertTrue(raw.pongs(7), raw.closed)

    # --- GOAWAY --------------------------------------------------------------------------------------------------------

    def goaway(self, time: int = 5_000, code: int = 0, text: str = "") -> bytes:
        return S(session.GOAWAY, cbor({0: code, 1: time, 2: text}))

    def test_a_thousand_goaways(self):
        raw = self.raw()
        raw.stream(2, self.goaway() * 1_000)
        self.closes(raw, application(session.NO_ERROR))

    def test_goaway_with_an_exchange_open_and_exchanges_behind_it(self):
        raw = self.raw()
        raw.granted(8)
        raw.stream(0, SENDS)
        raw.stream(2, self.goaway())
        for index in range(1, 6):
            raw.stream(index << 2, GOOD, fin=True)
        raw.until(lambda: all(raw.finished(index << 2) for index in range(1, 6)))
        raw.stream(0, b"", fin=True)
        self.closes(raw, application(session.NO_ERROR))

    def test_goaway_without_time(self):
        raw = self.raw()
        raw.stream(0, SENDS)
        raw.stream(2, self.goaway(0))
        self.assertTrue(raw.pongs(3) or raw.over())

    def test_goaway_with_all_the_time_there_is(self):
        raw = self.raw()
        raw.stream(0, SENDS)
        raw.stream(2, self.goaway((1 << 53) - 1))
        self.assertTrue(raw.pongs(3), raw.closed)
        raw.frames(F(qmux.RESET_STREAM, 0, 0x41, len(SENDS)), F(qmux.STOP_SENDING, 0, 0x41))
        self.closes(raw, application(session.NO_ERROR))

    def test_goaway_ends_what_would_go_on_for_ever(self):
        raw = self.raw()
        raw.stream(0, opening("chat/1", "sync"))
        raw.stream(2, self.goaway())
        raw.until(lambda: raw.finished(0) or raw.over())
        answer = raw.answer(0)
        self.assertEqual(answer[-1][0], session.ERROR)
        self.assertEqual(cbor_profile.decode(answer[-1][1])[1], 2)  # S3.72: retry on a new connection

    def test_goaway_with_codes_and_texts_of_nobody(self):
        for code, text in ((0xFFFFFFFF, "\x1b[31m\u202e\r\n"), (0x80, "x" * 1_024), (0x3F, "\0")):
            raw = self.raw()
            raw.stream(2, self.goaway(code=code, text=text))
            self.closes(raw, application(session.NO_ERROR))

    # --- deadlines and ends --------------------------------------------------------------------------------------------

    def test_a_deadline_of_zero_on_every_method(self):
        raw = self.raw()
        raw.granted(len(DEADLINES))
        for index, (protocol, method) in enumerate(DEADLINES):
            raw.stream(index << 2, opening(protocol, method, {2: 0}))
        for index, method in enumerate(DEADLINES):
            with self.subTest(method=method):
                raw.until(lambda: raw.finished(index << 2))
                kind, payload = raw.answer(index << 2)[-1]
                self.assertEqual((kind, cbor_profile.decode(payload)[0]), (session.ERROR, session.DEADLINE_EXCEEDED))

    def test_an_end_of_the_stream_after_every_byte_of_a_request(self):
        """TRUNCATED, or an ERROR, or an answer to whoever had said everything; never silence."""
        raw = self.raw()
        for at in range(len(SENDS) + 1):
            raw.granted(at + 1)
            raw.stream(at << 2, SENDS[:at], fin=True)
        for at in range(len(SENDS) + 1):
            with self.subTest(at=at):
                raw.until(lambda: raw.finished(at << 2))
                code = cbor_profile.decode(raw.answer(at << 2)[-1][1])[0] if at << 2 in raw.ended else None
                self.assertTrue(raw.resets.get(at << 2) == session.TRUNCATED or code == session.INVALID_MESSAGE, (raw.resets.get(at << 2), code))

    def test_an_answer_beyond_what_the_peer_takes(self):
        """S3.14: the answer fails with LIMIT, and the connection goes on. An exchange right behind HELLO may be answered before that was
        looked at, by what every peer takes (S3.30); this one takes less."""
        raw = Raw(self.server)
        self.raws.append(raw)
        raw.start(cbor({0: {0: 10, 1: 4_096, 2: 0}, 1: [], 2: "small"}))
        give_up = time.monotonic() + 10
        answers = []
        while (not answers or answers[-1][0] == session.END) and time.monotonic() < give_up:
            stream = len(raw.offsets) - 1 << 2  # the others have had one each, and the control stream is there
            raw.granted((stream >> 2) + 1)
            raw.stream(stream, request("accounts/1", "whoami", {}), fin=True)
            raw.until(lambda: raw.finished(stream))
            answers = raw.answer(stream)
        self.assertEqual([kind for kind, _ in answers], [session.ERROR])
        self.assertEqual(cbor_profile.decode(answers[0][1])[0], 0x84)
        self.assertTrue(raw.pongs(5))


def steps_of(steps, stream: int) -> list[bytes]:
    return [step(stream) for step in steps]


if __name__ == "__main__":
    unittest.main()
