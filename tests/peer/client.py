"""A client over TCP: connect, enrol, say, tail. Blocking; one thread; everything above the socket is `Session`'s."""

import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

import cbor_profile
import identity
import qmux
from session import Exchange, Session, Truncated

ALPN = "hikyaku/1-qx02"  # S1.6
NO_CHECK_TIME, PARTIAL_CHAIN = 0x200000, 0x80000  # OpenSSL's flags: dates mean nothing (S1.9), the leaf itself is trusted


class ConnectionClosed(Exception):
    """The connection is over; `closed` says who said so, and with which code."""

    def __init__(self, closed: qmux.Closed | None):
        super().__init__("connection lost" if closed is None else f"closed with {closed.code:#x}: {closed.reason!r}")
        self.closed = closed


def tls_context(pinned: bytes | None = None, device: identity.Identity | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # S1.3
    context.check_hostname = False  # S1.9; and no name is sent (S1.11)
    context.set_alpn_protocols([ALPN])
    if pinned is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_flags |= NO_CHECK_TIME | PARTIAL_CHAIN
        context.load_verify_locations(cadata=pinned)
    if device is not None:
        context.load_cert_chain(device.certificate, device.key)
    return context


def fetch_certificate(address: tuple[str, int], timeout: float = 10) -> bytes:
    """The server's certificate, by a handshake in which this side presents none. The server then hangs up (S1.5)."""
    with socket.create_connection(address, timeout) as plain, tls_context().wrap_socket(plain) as tls:
        return tls.getpeercert(binary_form=True)


def pin(address: tuple[str, int], host_id: bytes) -> bytes:
    """The certificate under this address, if its key is the expected one (S1.8)."""
    certificate = fetch_certificate(address)
    if identity.key_id(certificate) != host_id:
        raise identity.IdentityRefused(f"{address[0]}:{address[1]} has another key than {identity.show(host_id)}")
    return certificate


def connect_tls(address: tuple[str, int], pinned: bytes, device: identity.Identity, timeout: float = 10) -> ssl.SSLSocket:
    """Mutual TLS. OpenSSL checks the pinned certificate inside the handshake, before it sends ours (S1.8)."""
    plain = socket.create_connection(address, timeout)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = tls_context(pinned, device).wrap_socket(plain)
        if tls.selected_alpn_protocol() != ALPN:  # S1.7
            raise ConnectionError("the server does not speak this protocol over TCP")
        return tls
    except BaseException:
        plain.close()
        raise


@dataclass
class Event:
    """One event of a room as a reader gets it (chapter 4.3). `body` is None when it was erased."""

    seq: int
    kind: int
    author: str
    body: bytes | None


class Client:
    """A connection with a session on it."""

    make_connection, make_session = qmux.Connection, Session

    def __init__(self, address: tuple[str, int], host_id: bytes, device: identity.Identity, pinned: bytes | None = None):
        self.pinned = pinned or pin(address, host_id)
        self.socket = connect_tls(address, self.pinned, device)
        self.connection = type(self).make_connection()
        self.session = type(self).make_session(self.connection)
        self.over = False
        self.flush()
        while self.session.hello is None:
            self.pump()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # --- moving bytes ------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        if output := self.connection.take_output():
            self.socket.sendall(output)

    def pump(self, timeout: float = 10) -> None:
        """Takes what the server sent, or waits for it; sends what there is to say about it. What came before the end of
        the connection is taken first; whoever wants more gets ConnectionClosed."""
        if self.over:
            raise ConnectionClosed(self.connection.closed)
        self.flush()
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(1 << 16)
        except (ssl.SSLError, ConnectionError) as error:
            raise ConnectionClosed(self.connection.closed) from error
        self.session.receive(data)
        self.flush()
        self.over = self.connection.closed is not None or not data

    def close(self) -> None:
        """S2.30: CONNECTION_CLOSE, close_notify, and the end of our direction."""
        try:
            self.connection.close(0, "")
            self.flush()
            self.socket.settimeout(1)
            self.socket.unwrap()
        except (OSError, ValueError):
            pass
        self.socket.close()

    # --- exchanges ---------------------------------------------------------------------------------------------------

    def receive(self, exchange: Exchange, timeout: float = 10):
        """The next message; None when the exchange ended well. Raises when it ended in any other way."""
        give_up = time.monotonic() + timeout
        while True:
            if exchange.incoming:
                return exchange.incoming.popleft()[1]
            if exchange.broken is not None:
                raise exchange.broken
            if exchange.success:
                return None
            self.pump(max(0.01, give_up - time.monotonic()))

    def call(self, protocol: str, method: str, message, deadline: int | None = None):
        """One message each way. It is an answer only once the exchange has ended well (S3.44)."""
        exchange = self.session.open(protocol, method, deadline)
        self.session.send(exchange, message)
        self.session.end(exchange)
        answer = self.receive(exchange)
        if answer is None or self.receive(exchange) is not None:
            raise Truncated("not exactly one message")
        return answer

    # --- applications ------------------------------------------------------------------------------------------------

    def create_room(self, name: str, room: bytes | None = None) -> bytes:
        room = room or os.urandom(16)
        self.call("chat/1", "room.create", {0: room, 1: name})
        return room

    def say(self, room: str | bytes, text: str, message_id: bytes | None = None) -> int:
        """The event's number, once it is durable (S4.34). With the same id it is the same event (S4.32)."""
        sent = self.call("chat/1", "send", {0: room, 1: message_id or os.urandom(16), 2: 1, 3: text.encode()})
        return sent[2]

    def tail(self, room: str, after: int = 0, follow: bool = False) -> Iterator[Event]:
        """The events behind `after`: until the reader is up to date, or for ever."""
        found = self.call("chat/1", "resolve", {0: room})[1]
        room_id, epoch, cursor = found[0], None, after + 1
        exchange = self.session.open("chat/1", "sync")
        self.session.send(exchange, {0: [{0: room_id, 1: found[1], 2: cursor, 3: 0}]})
        while (update := self.receive(exchange, timeout=3600 if follow else 10)) is not None:
            for head in update.get(0, []):
                epoch = head[1]
            for trimmed in update.get(1, []):
                cursor = max(cursor, trimmed[2] + 1)
            for batch in update.get(2, []):
                for seq, record in enumerate(batch[3], batch[2]):
                    if epoch is not None and seq == cursor:  # S4.60, S4.61
                        cursor += 1
                        yield _event(seq, record)
            if update.get(4):
                raise RuntimeError(f"the server refuses to serve this room: {update[4]}")
            if update.get(3) and not follow:
                break
        self.session.cancel(exchange)
        self.flush()


def _event(seq: int, record: bytes) -> Event:
    value = cbor_profile.decode(record)
    envelope = cbor_profile.decode(value[0])
    return Event(seq, envelope[0], envelope[2], value.get(2))


def enrol(link: str, device: identity.Identity, user: str, name: str) -> tuple[tuple[str, int], bytes]:
    """Redeems an invite (chapter 6.3). The address and host id to connect to from now on."""
    addresses, host_id, invite, secret = identity.parse_link(link)
    last: Exception = ValueError("no address")
    for address in addresses:  # S6.11
        try:
            with Client(address, host_id, device) as client:
                client.call("enroll/1", "redeem", {0: invite, 1: secret, 2: user, 3: name})
                return address, host_id
        except (OSError, identity.IdentityRefused) as error:
            last = error
    raise last
