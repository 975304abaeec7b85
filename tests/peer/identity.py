"""Keys and certificates (chapter 6.1): the id of a key is the SHA-256 of its SubjectPublicKeyInfo.

Python's standard library neither makes Ed25519 keys nor signs; the command line tool `openssl` (1.1.1 or newer) does both.
"""

import base64
import hashlib
import os
import subprocess

ED25519 = bytes.fromhex("300506032b6570")  # AlgorithmIdentifier: the object identifier 1.3.101.112, no parameters


class IdentityRefused(Exception):
    """A certificate that is not of the shape chapter 6 gives, or a key that is not the expected one."""


def show(key_id: bytes) -> str:
    """The form for people: lower-case base32 without padding."""
    return base64.b32encode(key_id).decode().lower().rstrip("=")


def parse(text: str, size: int) -> bytes:
    """Base32 of exactly `size` bytes; bits beyond the last byte must be zero (6.2)."""
    try:
        value = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        raise ValueError("not base32") from None
    if len(value) != size or show(value) != text:
        raise ValueError(f"not {size} bytes of base32 in its one form")
    return value


def parse_link(link: str) -> tuple[list[tuple[str, int]], bytes, bytes, bytes]:
    """An invite link (6.2): addresses, host id, invite id, secret. The error never repeats the text (S6.10)."""
    try:
        if len(link) > 4608 or not link.startswith("hikyaku://"):
            raise ValueError
        addresses, _, fragment = link.removeprefix("hikyaku://").partition("/#")
        host, invite, secret = fragment.split(".")
        found = []
        for address in addresses.split(","):
            name, _, port = address.rpartition(":")
            if not name or not port.isdecimal() or not port.isascii() or not 1 <= int(port) <= 65535:
                raise ValueError
            found.append((name.removeprefix("[").removesuffix("]"), int(port)))
        if len(found) > 16:
            raise ValueError
        return found, parse(host, 32), parse(invite, 8), parse(secret, 16)
    except ValueError:
        raise ValueError("this is not an invite link") from None


# --- DER: tag, length, content ---------------------------------------------------------------------------------------


def der_read(data: bytes, at: int, tag: int) -> tuple[bytes, bytes, int]:
    """One element with this tag: the whole of it, its content, where it ends. Strict: definite, shortest lengths."""
    try:
        if data[at] != tag:
            raise IdentityRefused(f"DER tag {data[at]:#x} where {tag:#x} was expected")
        size, begin = data[at + 1], at + 2
        if size >= 0x80:
            count = size & 0x7F
            size, begin = int.from_bytes(data[begin : begin + count], "big"), begin + count
            if not 1 <= count <= 3 or size < 0x80 or size >> 8 * (count - 1) == 0:
                raise IdentityRefused("a DER length that is not in its shortest form")
    except IndexError:
        raise IdentityRefused("DER that is cut off") from None
    end = begin + size
    if end > len(data):
        raise IdentityRefused("DER that is cut off")
    return data[at:end], data[begin:end], end


def der(tag: int, *parts: bytes) -> bytes:
    """One element made of these parts."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    count = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | count]) + size.to_bytes(count, "big") + content


def spki_of(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo, found by walking the certificate's fields (S6.4); Ed25519 or nothing (S6.3)."""
    _, outer, end = der_read(certificate, 0, 0x30)
    if end != len(certificate):
        raise IdentityRefused("bytes after the certificate")
    _, body, _ = der_read(outer, 0, 0x30)  # TBSCertificate
    _, _, at = der_read(body, 0, 0xA0)  # version
    _, _, at = der_read(body, at, 0x02)  # serialNumber
    for _ in ("signature", "issuer", "validity", "subject"):
        _, _, at = der_read(body, at, 0x30)
    spki, content, _ = der_read(body, at, 0x30)
    algorithm, _, at = der_read(content, 0, 0x30)
    _, key, at = der_read(content, at, 0x03)
    if algorithm != ED25519 or len(key) != 33 or key[0] != 0 or at != len(content):
        raise IdentityRefused("the key is not Ed25519")
    return spki


def key_id(certificate: bytes) -> bytes:
    """The host id or device id of whoever presents this certificate (S6.1)."""
    return hashlib.sha256(spki_of(certificate)).digest()


class Identity:
    """A device key and its certificate, in one PEM file each, as `ssl` wants them."""

    def __init__(self, directory: str):
        self.key, self.certificate = os.path.join(directory, "device.key"), os.path.join(directory, "device.crt")
        if not os.path.exists(self.certificate):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._make()
        self.id = key_id(self.der())

    def der(self) -> bytes:
        """The certificate as it goes over the wire."""
        with open(self.certificate) as file:
            return base64.b64decode("".join(file.read().splitlines()[1:-1]))

    def _make(self) -> None:
        private = _openssl("genpkey", "-algorithm", "ed25519")
        _new_file(self.key, private)  # S6.5: only the owner reads it, and nothing is written over
        spki = _openssl("pkey", "-in", self.key, "-pubout", "-outform", "DER")
        name = der(0x30, der(0x31, der(0x30, bytes.fromhex("0603550403"), der(0x0C, b"hikyaku"))))  # CN=hikyaku
        dates = der(0x30, der(0x17, b"750101000000Z"), der(0x18, b"40960101000000Z"))
        # Serial number, names and dates are the same for everyone, so that they tell nothing (S6.2).
        version = der(0xA0, der(0x02, b"\x02"))
        body = der(0x30, version, der(0x02, b"\x01"), ED25519, name, dates, name, spki)
        _new_file(self.certificate + ".body", body)
        try:
            signature = _openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.key, "-in", self.certificate + ".body")
        finally:
            os.unlink(self.certificate + ".body")
        whole = base64.encodebytes(der(0x30, body, ED25519, der(0x03, b"\0", signature)))
        _new_file(self.certificate, b"-----BEGIN CERTIFICATE-----\n" + whole + b"-----END CERTIFICATE-----\n")


def _openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], stdout=subprocess.PIPE, check=True).stdout


def _new_file(path: str, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
