"""Varints (chapter 2.1): the two highest bits of the first byte tell how many bytes there are."""


class CutOff(Exception):
    """The bytes end before the varint does (S2.2)."""


MAX = (1 << 62) - 1


def encode(value: int) -> bytes:
    """The shortest form, as every sender must use (S2.1)."""
    for bits, size in ((6, 1), (14, 2), (30, 4), (62, 8)):
        if 0 <= value < 1 << bits:
            return (value | size.bit_length() - 1 << bits).to_bytes(size, "big")
    raise ValueError(f"{value} does not fit a varint")


def encode_in(value: int, size: int) -> bytes:
    """A chosen size, shortest or not: what a careless or hostile sender writes."""
    return (value | size.bit_length() - 1 << 8 * size - 2).to_bytes(size, "big")


def decode(data: bytes, at: int = 0) -> tuple[int, int]:
    """The value and where it ends."""
    if at >= len(data):
        raise CutOff
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise CutOff
    return int.from_bytes(data[at : at + size], "big") & (1 << 8 * size - 2) - 1, at + size


def is_shortest(data: bytes, at: int = 0) -> bool:
    """Whether the varint that begins here has the shortest form."""
    value, end = decode(data, at)
    return len(encode(value)) == end - at
