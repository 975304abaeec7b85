"""The CBOR profile (chapter 3.7, S3.80): what is checked before a message is decoded. Encoding and decoding is `cbor2`'s."""

import cbor2

DEPTH, ITEMS, LARGEST = 16, 65_536, (1 << 53) - 1


class OffProfile(Exception):
    """The bytes are not one item of CBOR in the profile."""


def encode(value) -> bytes:
    """Maps are written in the order of their keys (S3.81); write them ascending."""
    return cbor2.dumps(value)


def decode(data: bytes):
    check(data)
    return cbor2.loads(data)


def check(data: bytes) -> None:
    end, _ = _item(data, 0, 0, 0)
    if end != len(data):
        raise OffProfile("something follows the item")


def _item(data: bytes, at: int, depth: int, items: int) -> tuple[int, int]:
    """Checks one item; returns where it ends and how many items there were so far."""
    items += 1
    if items > ITEMS:
        raise OffProfile("too many items")
    major, value, at = _head(data, at)
    if major in (0, 1):
        if value > LARGEST - major:  # major 1 means -1 - value
            raise OffProfile("an integer beyond 2^53 - 1")
    elif major in (2, 3):
        if at + value > len(data):
            raise OffProfile("cut off")
        if major == 3:
            try:
                data[at : at + value].decode("utf-8")
            except UnicodeDecodeError:
                raise OffProfile("text that is not UTF-8") from None
        at += value
    elif major in (4, 5):
        if depth == DEPTH:
            raise OffProfile("nested too deep")
        if value * (major - 3) > len(data) - at:  # every item has a byte at least
            raise OffProfile("cut off")
        keys = set()
        for _ in range(value):
            if major == 5:
                begin = at
                if begin >= len(data) or data[begin] >> 5 not in (0, 3):
                    raise OffProfile("a map key that is neither unsigned integer nor text")
                at, items = _item(data, at, depth + 1, items)
                if (key := bytes(data[begin:at])) in keys:
                    raise OffProfile("a map key twice")
                keys.add(key)
            at, items = _item(data, at, depth + 1, items)
    elif major == 6 or value not in (20, 21, 22):
        raise OffProfile("a tag, a float or another simple value")
    return at, items


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument in its shortest form, where the head ends."""
    if at >= len(data):
        raise OffProfile("cut off")
    major, short, at = data[at] >> 5, data[at] & 31, at + 1
    if short < 24:
        return major, short, at
    if short > 27 or major == 7:
        raise OffProfile("an indefinite or reserved length, a float or a long simple value")
    size = 1 << short - 24
    if at + size > len(data):
        raise OffProfile("cut off")
    value = int.from_bytes(data[at : at + size], "big")
    if value < (24 if size == 1 else 1 << 4 * size):
        raise OffProfile("not in the shortest form")
    return major, value, at + size
