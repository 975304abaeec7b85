"""A peer that greases every extension point of chapters 2 and 3, all the time. Nothing that it does may change anything."""

import random

import cbor_profile
import client
import qmux
import session
import varint

EXCHANGE_NOBODY_HAS = 1 << 40


class Grease:
    """Numbers that are never assigned (3.9), others every time, the same ones for the same seed."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def number(self, bits: int = 40) -> int:
        return 0x1F * self.random.getrandbits(self.random.randrange(1, bits)) + 0x21

    def bytes(self) -> bytes:
        return self.random.randbytes(self.random.randrange(60))

    def frame(self) -> bytes:
        return session.frame(self.number(), self.bytes())

    def keys(self, value):
        """The same message with keys that nobody knows, in every map."""
        if isinstance(value, list):
            return [self.keys(item) for item in value]
        if not isinstance(value, dict):
            return value
        greased = {key: self.keys(item) for key, item in value.items()}
        return greased | {key: [None, {"grease": b"x"}, True] for key in sorted({self.number(), self.number()})}


class Connection(qmux.Connection):
    """Unknown parameters, PADDING, pings, datagrams of nobody."""

    def __init__(self, client: bool = True, parameters=None):
        self.grease = Grease(0x5EED)
        self.calm = False
        super().__init__(client, parameters)

    def _send(self, *frames: bytes) -> None:
        if self.theirs is None:  # S2.15: the parameters come first
            frames = (qmux.encode_parameters([*self.ours.items(), (0x1F * 77 + 27, b"grease"), (0x1F << 40 | 27, b"")]),)
        super()._send(*frames, bytes(self.grease.random.randrange(3)))
        if self.calm or self.theirs is None or self.closed is not None or self.grease.random.random() > 0.3:
            return
        self.calm = True  # a ping is sent as well
        self.ping()
        self.send_datagram(varint.encode(EXCHANGE_NOBODY_HAS) + self.grease.bytes())
        self.calm = False


class Session(session.Session):
    """Unknown frames between all others, unknown keys in every map, extensions and streams of unknown kinds."""

    def __init__(self, connection: Connection):
        super().__init__(connection)
        self.noise = connection.grease

    def open(self, protocol, method, deadline=None, metadata=None):
        exchange = super().open(protocol, method, deadline, metadata)
        self.connection.write(exchange.stream, self.noise.frame())
        return exchange

    def send(self, exchange, message) -> None:
        self.connection.write(exchange.stream, self.noise.frame())
        super().send(exchange, self.noise.keys(message))
        self.connection.write(exchange.stream, self.noise.frame())

    def end(self, exchange) -> None:
        self.connection.write(exchange.stream, session.frame(session.END) + self.noise.frame(), fin=True)

    def cancel(self, exchange, code=None) -> None:
        super().cancel(exchange, session.CANCELLED if code is None else code)

    def _start(self) -> None:
        self.control = self.connection.open(unidirectional=True)
        limits = {0: session.MAX_MESSAGE, 1: session.MAX_METADATA, 2: session.MAX_DATAGRAM}
        hello = self.noise.keys({0: limits, 1: [self.noise.number() for _ in range(64)], 2: "grease"})
        stream = varint.encode(session.CONTROL_STREAM) + self.noise.frame() + session.frame(session.HELLO, cbor_profile.encode(hello))
        self.connection.write(self.control, stream + self.noise.frame())

    def _control(self, kind: int, payload: bytes) -> None:
        begins = self.hello is None
        super()._control(kind, payload)
        if begins and (stream := self.connection.open(unidirectional=True)) is not None:
            self.connection.write(stream, varint.encode(self.noise.number()) + self.noise.bytes())


class Client(client.Client):
    make_connection, make_session = Connection, Session
