"""As much of TLS 1.3 (RFC 8446) as a server's first flight takes, so that a test can sign it with any key.

One suite (TLS_CHACHA20_POLY1305_SHA256), one group (X25519), no state worth protecting: the secrets are the test's. Python's
`ssl` refuses a certificate beside a key that it does not belong to, which is just what an impersonator has.
"""

import hashlib
import hmac
import os
import subprocess
import tempfile

CLIENT_HELLO, SERVER_HELLO, ENCRYPTED_EXTENSIONS, CERTIFICATE, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, FINISHED = 1, 2, 8, 11, 13, 15, 20
ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
CHACHA20_POLY1305, X25519_GROUP, ED25519_SCHEME = 0x1303, 0x001D, 0x0807


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5."""
    p, bits = 2**255 - 19, bytearray(scalar)
    bits[0], bits[31] = bits[0] & 248, bits[31] & 127 | 64
    k, u = int.from_bytes(bits, "little"), int.from_bytes(point, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for at in reversed(range(255)):
        bit = k >> at & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % p, b * b % p, d * a % p, c * b % p
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % p, u * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, e * (aa + 121_665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def chacha_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439, section 2.3."""
    words = [int.from_bytes((b"expand 32-byte k" + key)[at : at + 4], "little") for at in range(0, 48, 4)]
    start = words + [counter] + [int.from_bytes(nonce[at : at + 4], "little") for at in range(0, 12, 4)]
    state = list(start)

    def quarter(a, b, c, d):
        for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = state[x] + state[y] & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = (mixed << by | mixed >> 32 - by) & 0xFFFFFFFF

    for _ in range(10):
        for at in range(4):
            quarter(at, at + 4, at + 8, at + 12)
        for at in range(4):
            quarter(at, 4 + (at + 1) % 4, 8 + (at + 2) % 4, 12 + (at + 3) % 4)
    return b"".join((a + b & 0xFFFFFFFF).to_bytes(4, "little") for a, b in zip(state, start))


def chacha(key: bytes, nonce: bytes, data: bytes) -> bytes:
    out = bytearray()
    for at in range(0, len(data), 64):
        out += bytes(a ^ b for a, b in zip(data[at : at + 64], chacha_block(key, 1 + at // 64, nonce)))
    return bytes(out)


def tag(key: bytes, nonce: bytes, associated: bytes, sealed: bytes) -> bytes:
    """RFC 8439, section 2.8."""
    once = chacha_block(key, 0, nonce)[:32]
    r = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    padded = b"".join(part + bytes(-len(part) % 16) for part in (associated, sealed))
    padded += len(associated).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    sum_ = 0
    for at in range(0, len(padded), 16):
        sum_ = (sum_ + int.from_bytes(padded[at : at + 16] + b"\1", "little")) * r % (2**130 - 5)
    return (sum_ + int.from_bytes(once[16:], "little") & (1 << 128) - 1).to_bytes(16, "little")


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, "sha256")


def expand(secret: bytes, label: str, context: bytes, size: int = 32) -> bytes:
    """HKDF-Expand-Label for at most one block (RFC 8446, section 7.1)."""
    name = b"tls13 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + bytes([len(context)]) + context
    return hmac.digest(secret, info + b"\1", "sha256")[:size]


class Keys:
    """One direction's record protection."""

    def __init__(self, secret: bytes):
        self.secret, self.key, self.iv, self.count = secret, expand(secret, "key", b""), expand(secret, "iv", b"", 12), 0

    def nonce(self) -> bytes:
        self.count += 1
        return bytes(a ^ b for a, b in zip(self.iv, (self.count - 1).to_bytes(12, "big")))

    def seal(self, kind: int, content: bytes) -> bytes:
        header = bytes([APPLICATION_DATA, 3, 3]) + (len(content) + 17).to_bytes(2, "big")
        nonce = self.nonce()
        sealed = chacha(self.key, nonce, content + bytes([kind]))
        return header + sealed + tag(self.key, nonce, header, sealed)

    def open(self, header: bytes, sealed: bytes) -> tuple[int, bytes]:
        nonce = self.nonce()
        assert tag(self.key, nonce, header, sealed[:-16]) == sealed[-16:], "a record that is not the client's"
        content = chacha(self.key, nonce, sealed[:-16]).rstrip(b"\0")
        return content[-1], content[:-1]


def vector(content: bytes, size: int) -> bytes:
    return len(content).to_bytes(size, "big") + content


def handshake(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + vector(body, 3)


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(body, 2)


def hello_parts(message: bytes) -> tuple[bytes, bytes]:
    """The session id of a ClientHello, and its X25519 share."""
    at = 4 + 2 + 32
    session = message[at + 1 : at + 1 + message[at]]
    at += 1 + len(session)
    suites = message[at + 2 : at + 2 + int.from_bytes(message[at : at + 2], "big")]
    assert CHACHA20_POLY1305.to_bytes(2, "big") in [suites[n : n + 2] for n in range(0, len(suites), 2)]
    at += 2 + len(suites)
    at += 1 + message[at] + 2
    while at < len(message):
        kind, size = int.from_bytes(message[at : at + 2], "big"), int.from_bytes(message[at + 2 : at + 4], "big")
        if kind == 51:  # key_share
            shares, share = message[at + 6 : at + 4 + size], 0
            while share < len(shares):
                group, length = int.from_bytes(shares[share : share + 2], "big"), int.from_bytes(shares[share + 2 : share + 4], "big")
                if group == X25519_GROUP:
                    return session, shares[share + 4 : share + 4 + length]
                share += 4 + length
        at += 4 + size
    raise AssertionError("no X25519 share")


class Flight:
    """A server's first flight, with any certificate beside any signature, and what the client says to it."""

    def __init__(self, plain, certificate: bytes, key_file: str, protocol: str):
        self.plain, self.transcript = plain, b""
        kind, hello = self.record()[1:]
        assert kind == HANDSHAKE and hello[0] == CLIENT_HELLO
        session, theirs = hello_parts(hello)
        private = os.urandom(32)
        ours = x25519(private, (9).to_bytes(32, "little"))
        self.transcript += hello
        share = X25519_GROUP.to_bytes(2, "big") + vector(ours, 2)
        body = b"\3\3" + os.urandom(32) + vector(session, 1) + CHACHA20_POLY1305.to_bytes(2, "big") + b"\0"
        server_hello = self.add(SERVER_HELLO, body + vector(extension(43, b"\3\4") + extension(51, share), 2))
        early = expand(extract(bytes(32), bytes(32)), "derived", hashlib.sha256(b"").digest())
        secret = extract(early, x25519(private, theirs))
        self.own, self.client = (Keys(expand(secret, f"{who} hs traffic", self.digest())) for who in ("s", "c"))
        name = vector(vector(protocol.encode(), 1), 2)
        rest = self.add(ENCRYPTED_EXTENSIONS, vector(extension(16, name), 2))
        schemes = vector(ED25519_SCHEME.to_bytes(2, "big"), 2)
        rest += self.add(CERTIFICATE_REQUEST, b"\0" + vector(extension(13, schemes), 2))
        rest += self.add(CERTIFICATE, b"\0" + vector(vector(certificate, 3) + b"\0\0", 3))
        signature = sign(key_file, b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + self.digest())
        rest += self.add(CERTIFICATE_VERIFY, ED25519_SCHEME.to_bytes(2, "big") + vector(signature, 2))
        rest += self.add(FINISHED, hmac.digest(expand(self.own.secret, "finished", b""), self.digest(), "sha256"))
        plain.sendall(bytes([HANDSHAKE, 3, 3]) + vector(server_hello, 2) + self.own.seal(HANDSHAKE, rest))

    def digest(self) -> bytes:
        return hashlib.sha256(self.transcript).digest()

    def add(self, kind: int, body: bytes) -> bytes:
        message = handshake(kind, body)
        self.transcript += message
        return message

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.plain.recv(size - len(data))
            if not more:
                raise ConnectionError("the client is gone")
            data += more
        return data

    def record(self) -> tuple[bytes, int, bytes]:
        header = self.exactly(5)
        return header, header[0], self.exactly(int.from_bytes(header[3:], "big"))

    def answer(self) -> tuple[int, bytes]:
        """The first record of the client's that is a word: an alert or a handshake message."""
        while True:
            header, kind, content = self.record()
            if kind == APPLICATION_DATA:
                return self.client.open(header, content)
            if kind in (ALERT, HANDSHAKE):
                return kind, content


def sign(key_file: str, data: bytes) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key_file, "-in", file.name]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
