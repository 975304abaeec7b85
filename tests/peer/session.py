"""The session (chapter 3): frames in streams, HELLO, exchanges. Sans-IO, on a `qmux.Connection`."""

from collections import deque
from dataclasses import dataclass, field

import cbor_profile
import qmux
import varint

HELLO, GOAWAY, OPEN, MESSAGE, DATA, END, ERROR = 0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14
CONTROL, EXCHANGE = {HELLO, GOAWAY}, {OPEN, MESSAGE, DATA, END, ERROR}
CONTROL_STREAM = 0x00

NO_ERROR, INTERNAL_ERROR, PROTOCOL_VIOLATION, FRAME_ERROR, FRAME_UNEXPECTED = 0x00, 0x01, 0x02, 0x03, 0x04
LIMIT_EXCEEDED, HELLO_MISSING, CONTROL_STREAM_CLOSED = 0x05, 0x06, 0x07
STRANGER_LIMIT, HANDSHAKE_TIMEOUT, DATAGRAM_ERROR, MESSAGE_ERROR = 0x0A, 0x0D, 0x0E, 0x0F
CANCELLED, UNKNOWN_STREAM_TYPE, REFUSED, TRUNCATED, STREAM_DEADLINE = 0x41, 0x42, 0x43, 0x44, 0x45
FAILED, DEADLINE_EXCEEDED, UNKNOWN_PROTOCOL, UNKNOWN_METHOD, INVALID_MESSAGE = 0x80, 0x83, 0x86, 0x87, 0x88
ENROLL_REQUIRED = 0x8F

MAX_MESSAGE, MAX_METADATA, MAX_DATAGRAM = 65_536, 4_096, 1_000  # what this side says in HELLO
GREASE = 0x21


def known_as(code: int) -> int:
    """An error code of a class this side knows, for one that it does not (S3.64)."""
    if code < 0x40:
        return INTERNAL_ERROR
    return CANCELLED if code < 0x80 else FAILED


class SessionError(Exception):
    """The peer broke a rule of chapter 3: `code` ends the connection."""

    def __init__(self, code: int, why: str):
        super().__init__(why)
        self.code = code


class Truncated(Exception):
    """A stream ended where it may not."""


class Failure(Exception):
    """The peer's ERROR: the exchange failed and says why."""

    def __init__(self, code: int, retry: int, message: str, details: bytes):
        super().__init__(f"{code:#x}: {message!r}")
        self.code, self.retry, self.message, self.details = code, retry, message, details


def frame(kind: int, payload: bytes = b"") -> bytes:
    return varint.encode(kind) + varint.encode(len(payload)) + payload


def limit_of(kind: int) -> int:
    """The longest payload a frame may have (S3.13)."""
    if kind in (OPEN, ERROR):
        return MAX_METADATA + 2_048
    return {MESSAGE: MAX_MESSAGE, HELLO: 2_048, GOAWAY: 2_048, DATA: 16 << 20}.get(kind, 64 << 10)


class FrameReader:
    """Cuts a stream into frames, however it arrives (S3.8). Unknown ones are skipped (S3.10), DATA comes in pieces (S3.11)."""

    def __init__(self, limit=limit_of):
        self.limit, self.buffer, self.kind, self.left = limit, bytearray(), None, 0

    def push(self, data: bytes) -> list[tuple[int, bytes]]:
        self.buffer += data
        frames = []
        while self._header():
            if self.kind in (CONTROL | EXCHANGE) - {DATA}:
                if len(self.buffer) < self.left:
                    break
                frames.append((self.kind, self._take(self.left)))
            else:
                piece = self._take(min(self.left, len(self.buffer)))
                if self.kind == DATA:
                    frames.append((DATA, piece))
            if self.left:
                break
            self.kind = None
        return frames

    def finish(self) -> None:
        """The stream ended here."""
        if self.buffer or self.kind is not None:
            raise Truncated("the stream ended inside a frame")  # S3.16

    def _take(self, size: int) -> bytes:
        piece = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.left -= size
        return piece

    def _header(self) -> bool:
        """Whether a frame has begun and there is something to do about it."""
        if self.kind is not None:
            return bool(self.buffer)
        numbers, at = [], 0
        for _ in ("type", "length"):
            try:
                value, end = varint.decode(self.buffer, at)
            except varint.CutOff:
                return False
            if not varint.is_shortest(self.buffer, at):
                raise SessionError(FRAME_ERROR, "a frame's header is not in its shortest form")  # S3.9
            numbers, at = [*numbers, value], end
        kind, length = numbers
        if kind == END and length:
            raise SessionError(FRAME_ERROR, "END with a payload")  # S3.15
        if length > self.limit(kind):
            raise SessionError(LIMIT_EXCEEDED, f"frame {kind:#x} of {length} bytes, limit {self.limit(kind)}")
        self.kind, self.left = kind, length
        del self.buffer[:at]
        return True


def fields(payload: bytes, shape: dict, code: int = MESSAGE_ERROR) -> dict:
    """A control message: a map that has these keys with values of these types; others are ignored (S3.82)."""
    try:
        value = cbor_profile.decode(payload)
    except cbor_profile.OffProfile as error:
        raise SessionError(code, str(error)) from None
    if not isinstance(value, dict) or any(type(value.get(key)) is not kind for key, kind in shape.items()):
        raise SessionError(code, "a control message is not what its CDDL says")
    return value


def exchange_number(stream: int) -> int:
    """What a datagram carries instead of the stream id (S3.51)."""
    return stream >> 2 << 1 | stream & 1


def split_datagram(data: bytes) -> tuple[int, bytes]:
    """The exchange number and the payload (S3.52)."""
    try:
        number, end = varint.decode(data)
    except varint.CutOff:
        raise SessionError(DATAGRAM_ERROR, "a datagram whose number is cut off") from None
    if not varint.is_shortest(data):
        raise SessionError(DATAGRAM_ERROR, "a datagram whose number is not in its shortest form")
    return number, data[end:]


@dataclass
class Exchange:
    """This side's view of one exchange."""

    stream: int
    reader: FrameReader = field(default_factory=FrameReader)
    incoming: deque = field(default_factory=deque)  # ("message" | "data", …), in order
    ended: bool = False  # END or ERROR was received
    success: bool = False  # END and then FIN (S3.44)
    broken: Exception | None = None  # everything else that ends it
    opened: bool = True  # OPEN was seen; only the peer's exchanges begin without


class Reset(Exception):
    """The peer ended its half abruptly."""

    def __init__(self, code: int):
        super().__init__(f"reset with {code:#x}")
        self.code = code


class Session:
    """One side of the session. Answers what the peer opens with UNKNOWN_PROTOCOL."""

    def __init__(self, connection: qmux.Connection, grease: bool = True):
        self.connection, self.grease = connection, grease
        self.control: int | None = None
        self.hello: dict | None = None
        self.goaway: dict | None = None
        self.exchanges: dict[int, Exchange] = {}
        self.datagrams: deque = deque()
        self.stopped: dict[int, int] = {}
        self._readers: dict[int, bytearray | FrameReader | None] = {}  # the peer's unidirectional streams
        self._peer_control: int | None = None

    def receive(self, data: bytes) -> None:
        """Bytes from the transport. What goes wrong closes the connection, with the code the rule names."""
        try:
            for event in self.connection.receive(data):
                self._event(event)
        except SessionError as error:
            self.connection.close(error.code, str(error))
        if self.control is None and self.connection.theirs is not None:
            self._start()

    def open(self, protocol: str, method: str, deadline: int | None = None, metadata: bytes | None = None) -> Exchange:
        if self.hello is None or self.goaway is not None:  # S3.25, S3.72
            raise RuntimeError("no exchange can be opened now")
        stream = self.connection.open()
        if stream is None:
            raise RuntimeError("the peer permits no more exchanges")
        message = {0: protocol, 1: method} | ({} if deadline is None else {2: deadline})
        message |= ({} if metadata is None else {3: metadata}) | ({GREASE + 0x1F: "grease"} if self.grease else {})
        exchange = self.exchanges[stream] = Exchange(stream)
        if self.grease:
            self.connection.write(stream, frame(GREASE, b"grease"))
        self.connection.write(stream, frame(OPEN, cbor_profile.encode(message)))
        return exchange

    def send(self, exchange: Exchange, message) -> None:
        payload = cbor_profile.encode(message)
        if len(payload) > self.hello[0][0]:  # S3.14
            raise ValueError("longer than the peer's max_message")
        self.connection.write(exchange.stream, frame(MESSAGE, payload))

    def end(self, exchange: Exchange) -> None:
        self.connection.write(exchange.stream, frame(END), fin=True)

    def cancel(self, exchange: Exchange, code: int = CANCELLED) -> None:
        """S3.48: both halves."""
        self.connection.reset(exchange.stream, code)
        self.connection.stop(exchange.stream, code)

    def send_datagram(self, exchange: Exchange, payload: bytes) -> None:
        if len(payload) > min(self.hello[0][2], 1_000):  # S3.56
            raise ValueError("longer than the peer's max_datagram")
        self.connection.send_datagram(varint.encode(exchange_number(exchange.stream)) + payload)

    # --- what arrives ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.control = self.connection.open(unidirectional=True)
        limits = {0: MAX_MESSAGE, 1: MAX_METADATA, 2: MAX_DATAGRAM}
        hello = {0: limits, 1: [GREASE] if self.grease else [], 2: "hikyaku-peer.py/1"}
        if self.grease:  # S3.96, and wherever else something new may appear
            limits[GREASE + 0x1F] = hello[GREASE + 0x1F] = ["grease"]
        stream = varint.encode(CONTROL_STREAM) + frame(HELLO, cbor_profile.encode(hello))
        self.connection.write(self.control, stream + (frame(GREASE, b"grease") if self.grease else b""))

    def _event(self, event) -> None:
        if isinstance(event, qmux.StreamBytes):
            if event.stream & 2:
                self._unidirectional(event.stream, event.data, event.fin)
            else:
                self._exchange(event.stream, event.data, event.fin)
        elif isinstance(event, qmux.StreamReset):
            if event.stream == self._peer_control:
                raise SessionError(CONTROL_STREAM_CLOSED, "the control stream was reset")
            if (exchange := self.exchanges.get(event.stream)) and not exchange.success:
                exchange.broken = exchange.broken or Reset(event.code)
        elif isinstance(event, qmux.StreamStopped):
            if event.stream == self.control:
                raise SessionError(CONTROL_STREAM_CLOSED, "the peer does not want the control stream")
            self.stopped[event.stream] = event.code
        elif isinstance(event, qmux.Datagram):
            self.datagrams.append(split_datagram(event.data))

    def _unidirectional(self, stream: int, data: bytes, fin: bool) -> None:
        reader = self._readers.setdefault(stream, bytearray())
        if isinstance(reader, bytearray):  # the type has not arrived
            reader += data
            try:
                kind, end = varint.decode(reader)
            except varint.CutOff:
                return
            data = bytes(reader[end:])
            if kind != CONTROL_STREAM:
                self.connection.stop(stream, UNKNOWN_STREAM_TYPE)  # S3.21
                self._readers[stream] = reader = None
            elif self._peer_control is not None:
                raise SessionError(PROTOCOL_VIOLATION, "a second control stream")
            else:
                self._peer_control = stream
                self._readers[stream] = reader = FrameReader()
        if reader is None:
            return
        for kind, payload in reader.push(data):
            self._control(kind, payload)
        if fin:
            raise SessionError(CONTROL_STREAM_CLOSED, "the control stream ended")

    def _control(self, kind: int, payload: bytes) -> None:
        if self.hello is None:
            if kind != HELLO:
                raise SessionError(HELLO_MISSING, f"frame {kind:#x} before HELLO")
            hello = fields(payload, {0: dict, 1: list, 2: str})
            if any(type(hello[0].get(key)) is not int for key in range(3)) or len(hello[1]) > 64:
                raise SessionError(MESSAGE_ERROR, "HELLO is not what its CDDL says")
            self.hello = hello
        elif kind == GOAWAY:
            self.goaway = fields(payload, {0: int, 1: int, 2: str})
        else:
            raise SessionError(FRAME_UNEXPECTED, f"frame {kind:#x} on the control stream")

    def _exchange(self, stream: int, data: bytes, fin: bool) -> None:
        if (exchange := self.exchanges.get(stream)) is None:
            exchange = self.exchanges[stream] = Exchange(stream, opened=False)
        if exchange.broken is not None and not exchange.ended:
            return
        for kind, payload in exchange.reader.push(data):
            self._frame(exchange, kind, payload)
        if fin:
            try:
                exchange.reader.finish()
                if not exchange.ended:
                    raise Truncated("the stream ended without END")  # S3.45
                exchange.success = exchange.broken is None
            except Truncated as error:
                exchange.broken = error

    def _frame(self, exchange: Exchange, kind: int, payload: bytes) -> None:
        if kind not in EXCHANGE or exchange.ended or (kind == OPEN) == exchange.opened:
            raise SessionError(FRAME_UNEXPECTED, f"frame {kind:#x} on stream {exchange.stream}")
        if kind == OPEN:
            exchange.opened = True
            answer = {0: UNKNOWN_PROTOCOL, 1: 0, 3: "this peer answers nothing"}
            self.connection.write(exchange.stream, frame(ERROR, cbor_profile.encode(answer)), fin=True)
            self.connection.stop(exchange.stream, CANCELLED)
        elif kind == MESSAGE:
            try:
                exchange.incoming.append(("message", cbor_profile.decode(payload)))
            except cbor_profile.OffProfile as error:  # S3.46
                exchange.broken = error
                self.cancel(exchange)
        elif kind == DATA:
            exchange.incoming.append(("data", payload))
        else:
            exchange.ended = True
            if kind == ERROR:
                value = fields(payload, {0: int, 1: int, 3: str})
                exchange.broken = Failure(value[0], value[1], value[3], value.get(4, b""))
