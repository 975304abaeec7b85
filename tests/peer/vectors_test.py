"""Runs everything in spec/vectors through this peer: python -m unittest vectors_test"""

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


def read(data: bytes, sizes: int) -> list[tuple[int, bytes]]:
    """The frames of a stream that arrives in pieces of this size; pieces of one DATA frame are joined."""
    reader, frames = session.FrameReader(lambda kind: 1 << 20 if kind == session.MESSAGE else session.limit_of(kind)), []
    data_begun = False
    for begin in range(0, len(data), sizes):
        for kind, payload in reader.push(data[begin : begin + sizes]):
            if kind == session.DATA and data_begun:
                frames[-1] = (kind, frames[-1][1] + payload)
            else:
                frames.append((kind, payload))
            data_begun = reader.kind == session.DATA
    reader.finish()
    return frames


class Vectors(unittest.TestCase):
    def each(self, name: str):
        found = vectors(name)
        self.assertTrue(found)
        for index, vector in enumerate(found):
            with self.subTest(f"{name}.json {index}: {vector.get('name') or vector.get('why') or vector.get('hex')}"):
                yield vector, bytes.fromhex(vector.get("hex") or vector.get("frame") or "")

    def test_varints(self):
        for vector, data in self.each("varint"):
            if "error" in vector:
                self.assertRaises(varint.CutOff, varint.decode, data)
                continue
            self.assertEqual(varint.decode(data), (int(vector["value"]), len(data)))
            self.assertEqual(varint.is_shortest(data), vector["shortest"])
            self.assertEqual(varint.encode(int(vector["value"])) == data, vector["shortest"])

    def test_the_cbor_profile(self):
        for vector, data in self.each("cbor"):
            if vector["accepted"]:
                cbor_profile.check(data)
            else:
                self.assertRaises(cbor_profile.OffProfile, cbor_profile.check, data)

    def test_messages_are_decoded_and_encoded_again_to_the_same_bytes(self):
        for name in ("session", "accounts", "chat", "files"):
            for vector, data in self.each(name):
                self.assertEqual(cbor_profile.decode(data), value_of(vector["value"]))
                self.assertEqual(cbor_profile.encode(value_of(vector["value"])), data)

    def test_every_prefix_of_a_message_is_refused(self):
        for name in ("session", "accounts", "chat", "files"):
            for _, data in self.each(name):
                for end in range(len(data)):
                    self.assertRaises(cbor_profile.OffProfile, cbor_profile.check, data[:end])

    def test_frames_however_the_stream_is_cut(self):
        for vector, data in self.each("frames"):
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
                    self.assertEqual(read(data, size), wanted)

    def test_datagrams(self):
        for vector, data in self.each("datagrams"):
            if "error" in vector:
                good = bool(data) and len(data) >= 1 << (data[0] >> 6) and varint.is_shortest(data)
                self.assertFalse(good)
                continue
            number, end = varint.decode(data)
            self.assertEqual((number, data[end:].hex()), (int(vector["exchange"]), vector["payload"]))
            stream = int(vector["stream"])
            self.assertEqual(number, stream >> 2 << 1 | stream & 1)

    def test_errors(self):
        classes = (("connection", 0x3F), ("stream", 0x7F), ("request", 0xFFF), ("application", (1 << 31) - 1))
        generic = {"INTERNAL_ERROR": 0x01, "CANCELLED": 0x41, "FAILED": 0x80}
        for vector, data in self.each("errors"):
            [(kind, payload)] = read(data, len(data))
            code = int(vector["code"], 16)
            self.assertEqual((kind, cbor_profile.decode(payload)[0]), (session.ERROR, code))
            named = next((name for name, last in classes if code <= last), "private")
            if vector["class"] in {"connection", "stream", "request", "application", "private"}:
                self.assertEqual(vector["class"], named)
            if vector["name"] is None:
                self.assertEqual(session.known_as(code), generic[vector["treated_as"]])


if __name__ == "__main__":
    unittest.main()
