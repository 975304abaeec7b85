"""BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), as far as chapters 4 and 5 use it: hash, subtree, key derivation.

Slow and short: some 100 ms for one group of 64 KiB.
"""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
START, END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64
CHUNK = 1_024
GROUP = 65_536  # chapter 5


def _mix(v: list[int], a: int, b: int, c: int, d: int, x: int, y: int) -> None:
    v[a] = v[a] + v[b] + x & 0xFFFFFFFF
    turned = v[d] ^ v[a]
    v[d] = (turned >> 16 | turned << 16) & 0xFFFFFFFF
    v[c] = v[c] + v[d] & 0xFFFFFFFF
    turned = v[b] ^ v[c]
    v[b] = (turned >> 12 | turned << 20) & 0xFFFFFFFF
    v[a] = v[a] + v[b] + y & 0xFFFFFFFF
    turned = v[d] ^ v[a]
    v[d] = (turned >> 8 | turned << 24) & 0xFFFFFFFF
    v[c] = v[c] + v[d] & 0xFFFFFFFF
    turned = v[b] ^ v[c]
    v[b] = (turned >> 7 | turned << 25) & 0xFFFFFFFF


def _compress(key, block: bytes, counter: int, size: int, flags: int) -> tuple[int, ...]:
    m = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*key, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, size, flags]
    for turn in range(7):
        _mix(v, 0, 4, 8, 12, m[0], m[1])
        _mix(v, 1, 5, 9, 13, m[2], m[3])
        _mix(v, 2, 6, 10, 14, m[4], m[5])
        _mix(v, 3, 7, 11, 15, m[6], m[7])
        _mix(v, 0, 5, 10, 15, m[8], m[9])
        _mix(v, 1, 6, 11, 12, m[10], m[11])
        _mix(v, 2, 7, 8, 13, m[12], m[13])
        _mix(v, 3, 4, 9, 14, m[14], m[15])
        if turn < 6:
            m = tuple(m[index] for index in ORDER)
    return tuple(v[index] ^ v[index + 8] for index in range(8))


def _node(data: bytes, counter: int, key, flags: int, root: int) -> tuple[int, ...]:
    """The chaining value of these bytes as the subtree that begins with chunk `counter`."""
    if len(data) > CHUNK:
        left = CHUNK << ((len(data) - 1) // CHUNK).bit_length() - 1
        halves = _node(data[:left], counter, key, flags, 0) + _node(data[left:], counter + left // CHUNK, key, flags, 0)
        return _compress(key, struct.pack("<16I", *halves), 0, 64, flags | PARENT | root)
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    value = key
    for index, block in enumerate(blocks):
        ends = (START if index == 0 else 0) | (END | root if index == len(blocks) - 1 else 0)
        value = _compress(value, block, counter, len(block), flags | ends)
    return value


def _bytes(words) -> bytes:
    return struct.pack("<8I", *words)


def digest(data: bytes) -> bytes:
    return _bytes(_node(data, 0, IV, 0, ROOT))


def keyed(key: bytes, data: bytes) -> bytes:
    return _bytes(_node(data, 0, struct.unpack("<8I", key), KEYED, ROOT))


def derive_key(context: str, material: bytes) -> bytes:
    key = _node(context.encode(), 0, IV, CONTEXT, ROOT)
    return _bytes(_node(material, 0, key, MATERIAL, ROOT))


def group(offset: int, data: bytes) -> bytes:
    """S5.1: the non-root chaining value of a group of a file."""
    return _bytes(_node(data, offset // CHUNK, IV, 0, 0))
