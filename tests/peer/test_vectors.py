"""Runs everything in spec/vectors through this peer: python -m unittest test_vectors"""

import json
import pathlib
import unittest

import cbor_profile
import session
import varint

VECTORS = pathlib.Path(__file__).parents[2] / "spec" / "vectors"


def vectors(name: str) -> list[dict]:
    return json.loads((VECTORS / f"{name}.json").read_text())["vectors"]


def value_of(written):
    """A value as the vectors write it: {"map": [[key, value], …]} and {"bytes": hex}."""
    if isinstance(written, dict):
        if "bytes" in written:
            return bytes.fromhex(written["bytes"])
        return {value_of(key): value_of(value) for key, value in written["map"]}
    return [value_of(item) for item in written] if isinstance(written, list) else written


def read(data: bytes, size: int) -> list[tuple[int, bytes]]:
    """The frames of a stream that arrives in pieces of this size."""
    reader, frames = session.FrameReader(lambda kind: 1 << 20 if kind == session.MESSAGE else session.limit_of(kind)), []
    for begin in range(0, len(data), size):
        frames += reader.push(data[begin : begin + size])
    reader.finish()
    return frames


def joined(frames: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbouring pieces of DATA as one, since their boundaries mean nothing (S3.11)."""
    result = []
    for kind, payload in frames:
        if kind == session.DATA and result and result[-1][0] == session.DATA:
            payload = result.pop()[1] + payload
        result.append((kind, payload))
    return result


class Vectors(unittest.TestCase):
    def each(self, check, *names: str) -> None:
        for name in names:
            found = vectors(name)
            self.assertTrue(found)
            for index, vector in enumerate(found):
                what = vector.get("name") or vector.get("why") or vector.get("hex")
                with self.subTest(f"{name}.json {index}: {what}"):
                    check(vector, bytes.fromhex(vector.get("hex") or vector.get("frame") or ""))

    def test_varints(self):
        def check(vector, data):
            if "error" in vector:
                self.assertRaises(varint.CutOff, varint.decode, data)
                return
            self.assertEqual(varint.decode(data), (int(vector["value"]), len(data)))
            self.assertEqual(varint.is_shortest(data), vector["shortest"])
            self.assertEqual(varint.encode(int(vector["value"])) == data, vector["shortest"])

        self.each(check, "varint")

    def test_the_cbor_profile(self):
        def check(vector, data):
            if vector["accepted"]:
                cbor_profile.check(data)
            else:
                self.assertRaises(cbor_profile.OffProfile, cbor_profile.check, data)

        self.each(check, "cbor")

    def test_messages_are_decoded_and_encoded_again_to_the_same_bytes(self):
        def check(vector, data):
            self.assertEqual(cbor_profile.decode(data), value_of(vector["value"]))
            self.assertEqual(cbor_profile.encode(value_of(vector["value"])), data)

        self.each(check, "session", "accounts", "chat", "files")

    def test_every_prefix_of_a_message_is_refused(self):
        def check(_, data):
            for end in range(len(data)):
                self.assertRaises(cbor_profile.OffProfile, cbor_profile.check, data[:end])

        self.each(check, "session", "accounts", "chat", "files")

    def test_frames_however_the_stream_is_cut(self):
        def check(vector, data):
            if vector["name"].startswith("a control stream"):
                self.assertEqual(varint.decode(data), (session.CONTROL_STREAM, 1))
                data = data[1:]
            for size in (max(len(data), 1), 1, 2, 3, 7):
                if "error" in vector:
                    with self.assertRaises((session.SessionError, session.Truncated)) as caught:
                        read(data, size)
                    code = getattr(caught.exception, "code", session.TRUNCATED)
                    self.assertEqual(code, getattr(session, vector["error"]))
                else:
                    wanted = [(int(f["type"], 16), bytes.fromhex(f["payload"])) for f in vector["frames"]]
                    self.assertEqual(joined(read(data, size)), joined(wanted))

        self.each(check, "frames")

    def test_datagrams(self):
        def check(vector, data):
            if "error" in vector:
                with self.assertRaises(session.SessionError) as caught:
                    session.split_datagram(data)
                self.assertEqual(caught.exception.code, getattr(session, vector["error"]))
                return
            number, payload = int(vector["exchange"]), bytes.fromhex(vector["payload"])
            self.assertEqual(session.split_datagram(data), (number, payload))
            self.assertEqual(session.exchange_number(int(vector["stream"])), number)

        self.each(check, "datagrams")

    def test_errors(self):
        generic = {"INTERNAL_ERROR": session.INTERNAL_ERROR, "CANCELLED": session.CANCELLED, "FAILED": session.FAILED}

        def check(vector, data):
            [(kind, payload)] = read(data, len(data))
            code = int(vector["code"], 16)
            self.assertEqual((kind, cbor_profile.decode(payload)[0]), (session.ERROR, code))
            if vector["name"] is None:
                self.assertEqual(session.known_as(code), generic[vector["treated_as"]])

        self.each(check, "errors")


if __name__ == "__main__":
    unittest.main()
