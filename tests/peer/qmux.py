"""QMux (chapter 2.3): QUIC's frames in records, on a byte stream. Sans-IO: bytes in, events out, and bytes to send.

`receive` takes what the transport gave and returns events; `take_output` returns what the transport is to carry. A peer's
mistake closes the connection with the code that the specification names.
"""

from dataclasses import dataclass, field

import varint

PADDING, RESET_STREAM, STOP_SENDING, STREAM = 0x00, 0x04, 0x05, 0x08
FIN, LENGTH, OFFSET = 1, 2, 4  # bits of a STREAM frame's type
MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS_BIDI, MAX_STREAMS_UNI = 0x10, 0x11, 0x12, 0x13
DATA_BLOCKED, STREAM_DATA_BLOCKED, STREAMS_BLOCKED_BIDI, STREAMS_BLOCKED_UNI = 0x14, 0x15, 0x16, 0x17
CLOSE_TRANSPORT, CLOSE_APPLICATION = 0x1C, 0x1D
DATAGRAM, DATAGRAM_WITH_LENGTH = 0x30, 0x31
TRANSPORT_PARAMETERS = 0x3F5153300D0A0D0A
PING, PONG = 0x348C67529EF8C7BD, 0x348C67529EF8C7BE

MAX_IDLE_TIMEOUT, INITIAL_MAX_DATA = 0x01, 0x04
BIDI_LOCAL, BIDI_REMOTE, UNI = 0x05, 0x06, 0x07  # initial_max_stream_data_…
INITIAL_MAX_STREAMS_BIDI, INITIAL_MAX_STREAMS_UNI = 0x08, 0x09
MAX_DATAGRAM_FRAME_SIZE, MAX_RECORD_SIZE = 0x20, 0x0571C59429CD0845
FORBIDDEN_PARAMETERS = {0x00, 0x02, 0x03, *range(0x0A, 0x11)}  # S2.20
DEFAULT_RECORD = 16_382

NO_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_LIMIT_ERROR, STREAM_STATE_ERROR = 0x0, 0x1, 0x3, 0x4, 0x5
FINAL_SIZE_ERROR, FRAME_ENCODING_ERROR, TRANSPORT_PARAMETER_ERROR, PROTOCOL_VIOLATION = 0x6, 0x7, 0x8, 0xA

OURS = {
    MAX_IDLE_TIMEOUT: 60_000, INITIAL_MAX_DATA: 1 << 20, BIDI_LOCAL: 1 << 18, BIDI_REMOTE: 1 << 18, UNI: 1 << 18,
    INITIAL_MAX_STREAMS_BIDI: 16, INITIAL_MAX_STREAMS_UNI: 4, MAX_DATAGRAM_FRAME_SIZE: 1_200,
}  # fmt: skip


class TransportError(Exception):
    """The peer broke a rule of chapter 2; `code` goes into CONNECTION_CLOSE 0x1c."""

    def __init__(self, code: int, why: str):
        super().__init__(why)
        self.code = code


@dataclass
class StreamBytes:
    stream: int
    data: bytes
    fin: bool


@dataclass
class StreamReset:
    stream: int
    code: int


@dataclass
class StreamStopped:
    stream: int
    code: int


@dataclass
class Datagram:
    data: bytes


@dataclass
class Pong:
    number: int


@dataclass
class Closed:
    application: bool  # 0x1d rather than 0x1c
    code: int
    reason: str
    local: bool  # whether this side said so


@dataclass
class Stream:
    """Both halves of one stream. A half that the direction does not have is never used."""

    sent: int = 0
    send_limit: int = 0
    pending: bytearray = field(default_factory=bytearray)
    fin: bool = False  # FIN is to follow what is pending
    send_over: bool = False
    received: int = 0
    receive_limit: int = 0
    final: int | None = None  # where the peer's half ends, once known


def frame(kind: int, *numbers: int) -> bytes:
    """A frame that is nothing but varints: its type and its fields."""
    return b"".join(varint.encode(number) for number in (kind, *numbers))


def stream_frame(stream: int, offset: int, data: bytes, fin: bool = False) -> bytes:
    return frame(STREAM | LENGTH | OFFSET | (FIN if fin else 0), stream, offset, len(data)) + data


def close_frame(kind: int, code: int, reason: bytes = b"") -> bytes:
    middle = (0,) if kind == CLOSE_TRANSPORT else ()  # the type of the offending frame: unknown
    return frame(kind, code, *middle, len(reason)) + reason


def record(*frames: bytes) -> bytes:
    content = b"".join(frames)
    return varint.encode(len(content)) + content


def encode_parameters(parameters) -> bytes:
    """The first frame. Takes (id, number) or (id, bytes) pairs, in any order and however often."""
    body = b""
    for key, value in parameters.items() if isinstance(parameters, dict) else parameters:
        value = varint.encode(value) if isinstance(value, int) else value
        body += varint.encode(key) + varint.encode(len(value)) + value
    return frame(TRANSPORT_PARAMETERS, len(body)) + body


def decode_parameters(body: bytes) -> dict[int, int]:
    found, at = {}, 0
    try:
        while at < len(body):
            key, at = varint.decode(body, at)
            size, at = varint.decode(body, at)
            value, at = body[at : at + size], at + size
            if at > len(body) or key in found or key in FORBIDDEN_PARAMETERS:
                raise TransportError(TRANSPORT_PARAMETER_ERROR, f"transport parameter {key:#x}")
            known = key in OURS or key == MAX_RECORD_SIZE
            number, end = varint.decode(value) if known else (0, len(value))  # S2.21: others are ignored
            if end != len(value):
                raise TransportError(TRANSPORT_PARAMETER_ERROR, f"transport parameter {key:#x} is not one varint")
            found[key] = number
    except varint.CutOff:
        raise TransportError(TRANSPORT_PARAMETER_ERROR, "a transport parameter is cut off") from None
    if max(found.get(INITIAL_MAX_STREAMS_BIDI, 0), found.get(INITIAL_MAX_STREAMS_UNI, 0)) > 1 << 60:
        raise TransportError(TRANSPORT_PARAMETER_ERROR, "more streams than there can be")
    if found.get(MAX_RECORD_SIZE, DEFAULT_RECORD) < DEFAULT_RECORD:
        raise TransportError(TRANSPORT_PARAMETER_ERROR, "max_record_size is too small")
    return found


class Connection:
    """One side of a QMux connection."""

    def __init__(self, client: bool = True, parameters=None):
        self.role = 0 if client else 1  # the lowest bit of the ids of streams this side opens
        self.ours = dict(OURS) if parameters is None else parameters
        self.theirs: dict[int, int] | None = None
        self.streams: dict[int, Stream] = {}
        self.opened = {0: 0, 2: 0}  # how many of ours, by direction bit
        self.may_open = {0: 0, 2: 0}
        self.peer_opened = {0: 0, 2: 0}
        self.peer_may_open = {0: self.ours[INITIAL_MAX_STREAMS_BIDI], 2: self.ours[INITIAL_MAX_STREAMS_UNI]}
        self.sent = self.received = self.send_limit = 0
        self.receive_limit = self.ours[INITIAL_MAX_DATA]
        self.pinged = self.ping_seen = -1
        self.closed: Closed | None = None
        self._waiting: set[int] = set()  # streams that have something to send
        self._input, self._output, self._events = bytearray(), bytearray(), []
        self._send(encode_parameters(self.ours))  # S2.15: at once

    # --- what the application does -----------------------------------------------------------------------------------

    def open(self, unidirectional: bool = False) -> int | None:
        """A new stream's id, or None when the peer permits no more."""
        direction = 2 if unidirectional else 0
        if self.opened[direction] >= self.may_open[direction]:
            return None
        stream = self.opened[direction] << 2 | direction | self.role
        self.opened[direction] += 1
        self.streams[stream] = self._new(stream)
        return stream

    def write(self, stream: int, data: bytes, fin: bool = False) -> None:
        """Queues bytes; they go as credit permits."""
        state = self.streams[stream]
        if not state.send_over:
            state.pending += data
            state.fin = state.fin or fin
            self._flush(stream)

    def reset(self, stream: int, code: int) -> None:
        state = self.streams[stream]
        if not state.send_over:
            state.send_over = True
            state.pending.clear()
            self._send(frame(RESET_STREAM, stream, code, state.sent))

    def stop(self, stream: int, code: int) -> None:
        if self.streams[stream].final is None:
            self._send(frame(STOP_SENDING, stream, code))

    def send_datagram(self, data: bytes) -> None:
        whole = frame(DATAGRAM_WITH_LENGTH, len(data)) + data
        if len(whole) > (self.theirs or {}).get(MAX_DATAGRAM_FRAME_SIZE, 0):
            raise ValueError("the peer takes no datagram of this size")
        self._send(whole)

    def ping(self) -> int:
        self.pinged += 1
        self._send(frame(PING, self.pinged))
        return self.pinged

    def close(self, code: int, reason: str = "", application: bool = True) -> None:
        if self.closed is None:
            self._send(close_frame(CLOSE_APPLICATION if application else CLOSE_TRANSPORT, code, reason.encode()))
            self.closed = Closed(application, code, reason, local=True)

    def take_output(self) -> bytes:
        output, self._output = bytes(self._output), bytearray()
        return output

    # --- what the transport does -------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list:
        """Whole records are taken apart; what is left waits for more."""
        self._input += data
        self._events = []
        try:
            while self.closed is None and (content := self._next_record()) is not None:
                self._frames(content)
        except varint.CutOff:
            self._fail(FRAME_ENCODING_ERROR, "a record ends inside a frame")  # S2.12
        except TransportError as error:
            self._fail(error.code, str(error))
        return self._events

    def _next_record(self) -> bytes | None:
        try:
            size, begin = varint.decode(self._input)
        except varint.CutOff:
            return None
        if size > DEFAULT_RECORD:  # S2.11: this side never declares more
            raise TransportError(FRAME_ENCODING_ERROR, f"a record of {size} bytes")
        if len(self._input) < begin + size:
            return None
        content = bytes(self._input[begin : begin + size])
        del self._input[: begin + size]
        return content

    def _frames(self, data: bytes) -> None:
        at = 0
        while at < len(data) and self.closed is None:
            kind, after = varint.decode(data, at)
            if not varint.is_shortest(data, at):  # S2.14
                raise TransportError(PROTOCOL_VIOLATION, "a frame type in a long form")
            if (self.theirs is None) != (kind == TRANSPORT_PARAMETERS):  # S2.16
                raise TransportError(PROTOCOL_VIOLATION, "the transport parameters come first, and once")
            at = self._frame(kind, data, after)

    def _frame(self, kind: int, data: bytes, at: int) -> int:
        def number() -> int:
            nonlocal at
            value, at = varint.decode(data, at)
            return value

        def some(size: int) -> bytes:
            nonlocal at
            if at + size > len(data):
                raise varint.CutOff
            value, at = data[at : at + size], at + size
            return value

        if kind == PADDING:
            pass
        elif kind == TRANSPORT_PARAMETERS:
            self._start(decode_parameters(some(number())))
        elif STREAM <= kind < STREAM + 8:
            stream = number()
            offset = number() if kind & OFFSET else 0
            content = some(number()) if kind & LENGTH else some(len(data) - at)
            self._stream(stream, offset, content, bool(kind & FIN))
        elif kind == RESET_STREAM:
            self._reset(number(), number(), number())
        elif kind == STOP_SENDING:
            stream, code = number(), number()
            self._sending(stream)
            self._events.append(StreamStopped(stream, code))
            self.reset(stream, code)  # S2.27
        elif kind == MAX_DATA:
            self.send_limit = max(self.send_limit, number())
            self._flush()
        elif kind == MAX_STREAM_DATA:
            state = self._sending(number())
            state.send_limit = max(state.send_limit, number())
            self._flush()
        elif kind in (MAX_STREAMS_BIDI, MAX_STREAMS_UNI):
            direction, count = 2 * (kind - MAX_STREAMS_BIDI), number()
            if count > 1 << 60:
                raise TransportError(FRAME_ENCODING_ERROR, "more streams than there can be")
            self.may_open[direction] = max(self.may_open[direction], count)
        elif kind in (DATA_BLOCKED, STREAMS_BLOCKED_BIDI, STREAMS_BLOCKED_UNI):
            number()
        elif kind == STREAM_DATA_BLOCKED:
            self._receiving(number())
            number()
        elif kind in (CLOSE_TRANSPORT, CLOSE_APPLICATION):
            code = number()
            if kind == CLOSE_TRANSPORT:
                number()
            reason = some(number()).decode(errors="replace")
            self.closed = Closed(kind == CLOSE_APPLICATION, code, reason, local=False)
            self._events.append(self.closed)
        elif kind in (DATAGRAM, DATAGRAM_WITH_LENGTH):
            self._events.append(Datagram(some(number()) if kind == DATAGRAM_WITH_LENGTH else some(len(data) - at)))
        elif kind == PING:
            value = number()
            if value <= self.ping_seen:  # S2.19
                raise TransportError(PROTOCOL_VIOLATION, "the number of a ping did not rise")
            self.ping_seen = value
            self._send(frame(PONG, value))
        elif kind == PONG:
            value = number()
            if value > self.pinged:
                raise TransportError(PROTOCOL_VIOLATION, "an answer to no ping")
            self._events.append(Pong(value))
        else:
            raise TransportError(FRAME_ENCODING_ERROR, f"frame {kind:#x}")  # S2.14
        return at

    # --- streams -----------------------------------------------------------------------------------------------------

    def _start(self, parameters: dict[int, int]) -> None:
        self.theirs = parameters
        self.send_limit = parameters.get(INITIAL_MAX_DATA, 0)
        self.may_open = {
            0: parameters.get(INITIAL_MAX_STREAMS_BIDI, 0),
            2: parameters.get(INITIAL_MAX_STREAMS_UNI, 0),
        }

    def _new(self, stream: int) -> Stream:
        mine, theirs = stream & 1 == self.role, self.theirs or {}
        if stream & 2:
            return Stream(send_limit=theirs.get(UNI, 0), receive_limit=self.ours[UNI])
        sending, receiving = (BIDI_REMOTE, BIDI_LOCAL) if mine else (BIDI_LOCAL, BIDI_REMOTE)
        return Stream(send_limit=theirs.get(sending, 0), receive_limit=self.ours[receiving])

    def _known(self, stream: int) -> Stream:
        """The stream, opened by the peer just now if need be; with it, all of its kind that come before."""
        direction, index = stream & 2, stream >> 2
        if stream & 1 == self.role:
            if index >= self.opened[direction]:
                raise TransportError(STREAM_STATE_ERROR, f"stream {stream} was not opened")  # S2.25
        else:
            if index >= self.peer_may_open[direction]:
                raise TransportError(STREAM_LIMIT_ERROR, f"stream {stream} is beyond the limit")  # S2.22
            for new in range(self.peer_opened[direction], index + 1):
                identifier = new << 2 | direction | 1 - self.role
                self.streams[identifier] = self._new(identifier)
            self.peer_opened[direction] = max(self.peer_opened[direction], index + 1)
        return self.streams[stream]

    def _receiving(self, stream: int) -> Stream:
        if stream & 2 and stream & 1 == self.role:
            raise TransportError(STREAM_STATE_ERROR, f"nothing is received on stream {stream}")
        return self._known(stream)

    def _sending(self, stream: int) -> Stream:
        if stream & 2 and stream & 1 != self.role:
            raise TransportError(STREAM_STATE_ERROR, f"nothing is sent on stream {stream}")
        return self._known(stream)

    def _stream(self, stream: int, offset: int, data: bytes, fin: bool) -> None:
        state = self._receiving(stream)
        end = offset + len(data)
        if state.final is not None and (end > state.final or fin and end != state.final):
            raise TransportError(FINAL_SIZE_ERROR, f"stream {stream} had ended")  # S2.26
        if offset != state.received:
            raise TransportError(PROTOCOL_VIOLATION, f"stream {stream} does not go on where it was")  # S2.18
        self._take(state, len(data))
        if fin:
            state.final = end
        elif end > state.receive_limit - self.ours[BIDI_LOCAL] // 2:  # read at once: give the credit again
            state.receive_limit = end + self.ours[BIDI_LOCAL]
            self._send(frame(MAX_STREAM_DATA, stream, state.receive_limit))
        self._events.append(StreamBytes(stream, data, fin))

    def _reset(self, stream: int, code: int, size: int) -> None:
        state = self._receiving(stream)
        if size < state.received or state.final not in (None, size):
            raise TransportError(FINAL_SIZE_ERROR, f"stream {stream} had another end")
        self._take(state, size - state.received)  # S2.24: as if they had been read
        state.final = size
        self._events.append(StreamReset(stream, code))

    def _take(self, state: Stream, size: int) -> None:
        """Counts bytes against both limits (S2.22) and renews that of the connection."""
        state.received += size
        self.received += size
        if state.received > state.receive_limit or self.received > self.receive_limit:
            raise TransportError(FLOW_CONTROL_ERROR, "more bytes than there was credit")
        if self.received > self.receive_limit - self.ours[INITIAL_MAX_DATA] // 2:
            self.receive_limit = self.received + self.ours[INITIAL_MAX_DATA]
            self._send(frame(MAX_DATA, self.receive_limit))

    def _flush(self, only: int | None = None) -> None:
        for stream in sorted(self._waiting) if only is None else [only]:
            state = self.streams[stream]
            while not state.send_over and (state.pending or state.fin):
                credit = min(state.send_limit - state.sent, self.send_limit - self.sent, DEFAULT_RECORD - 32)
                data = bytes(state.pending[:credit])
                last = state.fin and len(data) == len(state.pending)
                if not data and not last:
                    break
                self._send(stream_frame(stream, state.sent, data, last))
                del state.pending[: len(data)]
                state.sent, self.sent, state.send_over = state.sent + len(data), self.sent + len(data), last
            waits = not state.send_over and (state.pending or state.fin)
            self._waiting.add(stream) if waits else self._waiting.discard(stream)

    def _send(self, *frames: bytes) -> None:
        if self.closed is None:
            self._output += record(*frames)

    def _fail(self, code: int, why: str) -> None:
        self.close(code, why, application=False)
        self._events.append(self.closed)
