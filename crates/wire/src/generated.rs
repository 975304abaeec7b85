//! Code points, made by `cargo xtask codes` from `spec/registries/*.toml`. Edit those, never this file.

use crate::codes::{Class, ErrorCode, StreamType};
use crate::frame::FrameType;

impl ErrorCode {
    /// The connection ends because it is no longer needed.
    pub const NO_ERROR: ErrorCode = ErrorCode(0x00);
    /// The sender failed for a reason of its own.
    pub const INTERNAL_ERROR: ErrorCode = ErrorCode(0x01);
    /// The peer broke a rule for which there is no more precise code.
    pub const PROTOCOL_VIOLATION: ErrorCode = ErrorCode(0x02);
    /// A frame is malformed: header not in its shortest form, or a payload of impossible length.
    pub const FRAME_ERROR: ErrorCode = ErrorCode(0x03);
    /// A known frame arrived where it is not permitted.
    pub const FRAME_UNEXPECTED: ErrorCode = ErrorCode(0x04);
    /// The peer exceeded a limit it had been told.
    pub const LIMIT_EXCEEDED: ErrorCode = ErrorCode(0x05);
    /// The first frame of the control stream is not HELLO.
    pub const HELLO_MISSING: ErrorCode = ErrorCode(0x06);
    /// The peer ended or reset its control stream.
    pub const CONTROL_STREAM_CLOSED: ErrorCode = ErrorCode(0x07);
    /// The peer's key is not one this side will speak to.
    pub const IDENTITY_REFUSED: ErrorCode = ErrorCode(0x08);
    /// The peer's device or user has been revoked.
    pub const REVOKED: ErrorCode = ErrorCode(0x09);
    /// A device that is not enrolled did more than a stranger may.
    pub const STRANGER_LIMIT: ErrorCode = ErrorCode(0x0a);
    /// The sender is shutting down; another connection may succeed later.
    pub const GOING_AWAY: ErrorCode = ErrorCode(0x0b);
    /// Nothing happened for too long.
    pub const IDLE: ErrorCode = ErrorCode(0x0c);
    /// The connection was not usable in time.
    pub const HANDSHAKE_TIMEOUT: ErrorCode = ErrorCode(0x0d);
    /// A datagram is malformed.
    pub const DATAGRAM_ERROR: ErrorCode = ErrorCode(0x0e);
    /// A control message is not what its CDDL says, or breaks the CBOR profile.
    pub const MESSAGE_ERROR: ErrorCode = ErrorCode(0x0f);
    /// The sender no longer wants the exchange; work on it may stop.
    pub const CANCELLED: ErrorCode = ErrorCode(0x41);
    /// The unidirectional stream has a type the receiver does not know.
    pub const UNKNOWN_STREAM_TYPE: ErrorCode = ErrorCode(0x42);
    /// The exchange was not processed at all; repeating it is safe.
    pub const REFUSED: ErrorCode = ErrorCode(0x43);
    /// The stream ended without END or ERROR; what it carried is not complete.
    pub const TRUNCATED: ErrorCode = ErrorCode(0x44);
    /// The deadline of the exchange passed; the sender stopped.
    pub const STREAM_DEADLINE: ErrorCode = ErrorCode(0x45);
    /// The request failed; the message says why.
    pub const FAILED: ErrorCode = ErrorCode(0x80);
    /// What the request names does not exist, or the requester may not know that it does.
    pub const NOT_FOUND: ErrorCode = ErrorCode(0x81);
    /// The requester may not do this.
    pub const DENIED: ErrorCode = ErrorCode(0x82);
    /// The deadline passed before the answer was ready; the outcome is unknown.
    pub const DEADLINE_EXCEEDED: ErrorCode = ErrorCode(0x83);
    /// The request exceeds a limit; the message names it.
    pub const LIMIT: ErrorCode = ErrorCode(0x84);
    /// Too much is going on; nothing was done.
    pub const BUSY: ErrorCode = ErrorCode(0x85);
    /// No such application protocol is spoken here.
    pub const UNKNOWN_PROTOCOL: ErrorCode = ErrorCode(0x86);
    /// The application protocol has no such method.
    pub const UNKNOWN_METHOD: ErrorCode = ErrorCode(0x87);
    /// A message is not what its CDDL says, or breaks the CBOR profile.
    pub const INVALID_MESSAGE: ErrorCode = ErrorCode(0x88);
    /// The state changed meanwhile; read it again and decide again.
    pub const CONFLICT: ErrorCode = ErrorCode(0x89);
    /// What the request would create exists already.
    pub const ALREADY_EXISTS: ErrorCode = ErrorCode(0x8a);
    /// No space is left, or a quota is used up.
    pub const FULL: ErrorCode = ErrorCode(0x8b);
    /// A part needed for the answer does not work at the moment; nothing was done.
    pub const UNAVAILABLE: ErrorCode = ErrorCode(0x8c);
    /// The answering side failed for a reason of its own; the outcome is unknown.
    pub const INTERNAL: ErrorCode = ErrorCode(0x8d);
    /// Stored or received bytes do not match their hash.
    pub const CORRUPT: ErrorCode = ErrorCode(0x8e);
    /// The device is not enrolled; redeem an invite first.
    pub const ENROLL_REQUIRED: ErrorCode = ErrorCode(0x8f);
    /// There is no such invite, or the secret is wrong.
    pub const INVITE_UNKNOWN: ErrorCode = ErrorCode(0x1000);
    /// The invite is past its time.
    pub const INVITE_EXPIRED: ErrorCode = ErrorCode(0x1001);
    /// The invite has no use left.
    pub const INVITE_USED: ErrorCode = ErrorCode(0x1002);
    /// Another user or device has this name.
    pub const NAME_TAKEN: ErrorCode = ErrorCode(0x1003);
    /// The name breaks the rules for names.
    pub const NAME_INVALID: ErrorCode = ErrorCode(0x1004);
    /// The server would be left without an owner.
    pub const LAST_OWNER: ErrorCode = ErrorCode(0x1005);
    /// The message id was used before with another body.
    pub const ID_REUSED: ErrorCode = ErrorCode(0x1100);
    /// There is no such room, or the requester may not know that there is.
    pub const ROOM_UNKNOWN: ErrorCode = ErrorCode(0x1101);
    /// The room's history was rewound; the cursor belongs to an earlier epoch.
    pub const EPOCH_CHANGED: ErrorCode = ErrorCode(0x1102);
    /// The events asked for have been removed by retention.
    pub const TRIMMED: ErrorCode = ErrorCode(0x1103);
    /// The name breaks the rules for room names.
    pub const ROOM_NAME_INVALID: ErrorCode = ErrorCode(0x1104);
    /// The body of the message exceeds the limit.
    pub const BODY_TOO_LARGE: ErrorCode = ErrorCode(0x1105);
    /// The received bytes do not hash to the root the sender gave.
    pub const ROOT_MISMATCH: ErrorCode = ErrorCode(0x1200);
    /// One group of received bytes does not hash to its chaining value.
    pub const GROUP_MISMATCH: ErrorCode = ErrorCode(0x1201);
    /// The server has no drop directory.
    pub const DROP_DISABLED: ErrorCode = ErrorCode(0x1202);
    /// The name or path may not be created at the receiver.
    pub const NAME_REFUSED: ErrorCode = ErrorCode(0x1203);
    /// There is no such transfer, or it is no longer kept.
    pub const TRANSFER_UNKNOWN: ErrorCode = ErrorCode(0x1204);
    /// The file changed while it was being sent.
    pub const SOURCE_CHANGED: ErrorCode = ErrorCode(0x1205);
    /// The range asked for lies outside the object.
    pub const RANGE_INVALID: ErrorCode = ErrorCode(0x1206);
    /// A receipt is not signed by the device that gives it, or is of something else than that parcel.
    pub const RECEIPT_INVALID: ErrorCode = ErrorCode(0x1207);
}

/// Every registered error code with its name and meaning, in ascending order.
pub const ERROR_CODES: &[(ErrorCode, &str, &str)] = &[
    (ErrorCode::NO_ERROR, "NO_ERROR", "The connection ends because it is no longer needed."),
    (ErrorCode::INTERNAL_ERROR, "INTERNAL_ERROR", "The sender failed for a reason of its own."),
    (
        ErrorCode::PROTOCOL_VIOLATION,
        "PROTOCOL_VIOLATION",
        "The peer broke a rule for which there is no more precise code.",
    ),
    (
        ErrorCode::FRAME_ERROR,
        "FRAME_ERROR",
        "A frame is malformed: header not in its shortest form, or a payload of impossible length.",
    ),
    (ErrorCode::FRAME_UNEXPECTED, "FRAME_UNEXPECTED", "A known frame arrived where it is not permitted."),
    (ErrorCode::LIMIT_EXCEEDED, "LIMIT_EXCEEDED", "The peer exceeded a limit it had been told."),
    (ErrorCode::HELLO_MISSING, "HELLO_MISSING", "The first frame of the control stream is not HELLO."),
    (
        ErrorCode::CONTROL_STREAM_CLOSED,
        "CONTROL_STREAM_CLOSED",
        "The peer ended or reset its control stream.",
    ),
    (ErrorCode::IDENTITY_REFUSED, "IDENTITY_REFUSED", "The peer's key is not one this side will speak to."),
    (ErrorCode::REVOKED, "REVOKED", "The peer's device or user has been revoked."),
    (
        ErrorCode::STRANGER_LIMIT,
        "STRANGER_LIMIT",
        "A device that is not enrolled did more than a stranger may.",
    ),
    (
        ErrorCode::GOING_AWAY,
        "GOING_AWAY",
        "The sender is shutting down; another connection may succeed later.",
    ),
    (ErrorCode::IDLE, "IDLE", "Nothing happened for too long."),
    (ErrorCode::HANDSHAKE_TIMEOUT, "HANDSHAKE_TIMEOUT", "The connection was not usable in time."),
    (ErrorCode::DATAGRAM_ERROR, "DATAGRAM_ERROR", "A datagram is malformed."),
    (
        ErrorCode::MESSAGE_ERROR,
        "MESSAGE_ERROR",
        "A control message is not what its CDDL says, or breaks the CBOR profile.",
    ),
    (ErrorCode::CANCELLED, "CANCELLED", "The sender no longer wants the exchange; work on it may stop."),
    (
        ErrorCode::UNKNOWN_STREAM_TYPE,
        "UNKNOWN_STREAM_TYPE",
        "The unidirectional stream has a type the receiver does not know.",
    ),
    (ErrorCode::REFUSED, "REFUSED", "The exchange was not processed at all; repeating it is safe."),
    (
        ErrorCode::TRUNCATED,
        "TRUNCATED",
        "The stream ended without END or ERROR; what it carried is not complete.",
    ),
    (
        ErrorCode::STREAM_DEADLINE,
        "STREAM_DEADLINE",
        "The deadline of the exchange passed; the sender stopped.",
    ),
    (ErrorCode::FAILED, "FAILED", "The request failed; the message says why."),
    (
        ErrorCode::NOT_FOUND,
        "NOT_FOUND",
        "What the request names does not exist, or the requester may not know that it does.",
    ),
    (ErrorCode::DENIED, "DENIED", "The requester may not do this."),
    (
        ErrorCode::DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        "The deadline passed before the answer was ready; the outcome is unknown.",
    ),
    (ErrorCode::LIMIT, "LIMIT", "The request exceeds a limit; the message names it."),
    (ErrorCode::BUSY, "BUSY", "Too much is going on; nothing was done."),
    (ErrorCode::UNKNOWN_PROTOCOL, "UNKNOWN_PROTOCOL", "No such application protocol is spoken here."),
    (ErrorCode::UNKNOWN_METHOD, "UNKNOWN_METHOD", "The application protocol has no such method."),
    (
        ErrorCode::INVALID_MESSAGE,
        "INVALID_MESSAGE",
        "A message is not what its CDDL says, or breaks the CBOR profile.",
    ),
    (ErrorCode::CONFLICT, "CONFLICT", "The state changed meanwhile; read it again and decide again."),
    (ErrorCode::ALREADY_EXISTS, "ALREADY_EXISTS", "What the request would create exists already."),
    (ErrorCode::FULL, "FULL", "No space is left, or a quota is used up."),
    (
        ErrorCode::UNAVAILABLE,
        "UNAVAILABLE",
        "A part needed for the answer does not work at the moment; nothing was done.",
    ),
    (
        ErrorCode::INTERNAL,
        "INTERNAL",
        "The answering side failed for a reason of its own; the outcome is unknown.",
    ),
    (ErrorCode::CORRUPT, "CORRUPT", "Stored or received bytes do not match their hash."),
    (ErrorCode::ENROLL_REQUIRED, "ENROLL_REQUIRED", "The device is not enrolled; redeem an invite first."),
    (ErrorCode::INVITE_UNKNOWN, "INVITE_UNKNOWN", "There is no such invite, or the secret is wrong."),
    (ErrorCode::INVITE_EXPIRED, "INVITE_EXPIRED", "The invite is past its time."),
    (ErrorCode::INVITE_USED, "INVITE_USED", "The invite has no use left."),
    (ErrorCode::NAME_TAKEN, "NAME_TAKEN", "Another user or device has this name."),
    (ErrorCode::NAME_INVALID, "NAME_INVALID", "The name breaks the rules for names."),
    (ErrorCode::LAST_OWNER, "LAST_OWNER", "The server would be left without an owner."),
    (ErrorCode::ID_REUSED, "ID_REUSED", "The message id was used before with another body."),
    (
        ErrorCode::ROOM_UNKNOWN,
        "ROOM_UNKNOWN",
        "There is no such room, or the requester may not know that there is.",
    ),
    (
        ErrorCode::EPOCH_CHANGED,
        "EPOCH_CHANGED",
        "The room's history was rewound; the cursor belongs to an earlier epoch.",
    ),
    (ErrorCode::TRIMMED, "TRIMMED", "The events asked for have been removed by retention."),
    (ErrorCode::ROOM_NAME_INVALID, "ROOM_NAME_INVALID", "The name breaks the rules for room names."),
    (ErrorCode::BODY_TOO_LARGE, "BODY_TOO_LARGE", "The body of the message exceeds the limit."),
    (
        ErrorCode::ROOT_MISMATCH,
        "ROOT_MISMATCH",
        "The received bytes do not hash to the root the sender gave.",
    ),
    (
        ErrorCode::GROUP_MISMATCH,
        "GROUP_MISMATCH",
        "One group of received bytes does not hash to its chaining value.",
    ),
    (ErrorCode::DROP_DISABLED, "DROP_DISABLED", "The server has no drop directory."),
    (ErrorCode::NAME_REFUSED, "NAME_REFUSED", "The name or path may not be created at the receiver."),
    (ErrorCode::TRANSFER_UNKNOWN, "TRANSFER_UNKNOWN", "There is no such transfer, or it is no longer kept."),
    (ErrorCode::SOURCE_CHANGED, "SOURCE_CHANGED", "The file changed while it was being sent."),
    (ErrorCode::RANGE_INVALID, "RANGE_INVALID", "The range asked for lies outside the object."),
    (
        ErrorCode::RECEIPT_INVALID,
        "RECEIPT_INVALID",
        "A receipt is not signed by the device that gives it, or is of something else than that parcel.",
    ),
];

impl Class {
    /// The class the number `code` belongs to.
    pub const fn of(code: u32) -> Class {
        match code {
            0x00..=0x3f => Class::Connection,
            0x40..=0x7f => Class::Stream,
            0x80..=0xfff => Class::Request,
            0x1000..=0x7fffffff => Class::Application,
            0x80000000.. => Class::Private,
        }
    }

    /// The code an unknown code of this class is treated as.
    pub const fn generic(self) -> ErrorCode {
        match self {
            Class::Connection => ErrorCode::INTERNAL_ERROR,
            Class::Stream => ErrorCode::CANCELLED,
            Class::Request => ErrorCode::FAILED,
            Class::Application => ErrorCode::FAILED,
            Class::Private => ErrorCode::FAILED,
        }
    }
}

impl FrameType {
    /// The first frame each side sends: its limits, its extensions, its name.
    pub const HELLO: FrameType = FrameType(0x01);
    /// The sender accepts no new exchange and will close.
    pub const GOAWAY: FrameType = FrameType(0x02);
    /// Begins an exchange: which application protocol, which method, by when.
    pub const OPEN: FrameType = FrameType(0x10);
    /// One message of the application.
    pub const MESSAGE: FrameType = FrameType(0x11);
    /// Bulk bytes of the application; passed on as they arrive.
    pub const DATA: FrameType = FrameType(0x12);
    /// The sender has said everything, and succeeded.
    pub const END: FrameType = FrameType(0x13);
    /// The sender ends the exchange with a failure.
    pub const ERROR: FrameType = FrameType(0x14);
}

/// Every registered frame type with its name and meaning, in ascending order.
pub const FRAME_TYPES: &[(FrameType, &str, &str)] = &[
    (FrameType::HELLO, "HELLO", "The first frame each side sends: its limits, its extensions, its name."),
    (FrameType::GOAWAY, "GOAWAY", "The sender accepts no new exchange and will close."),
    (FrameType::OPEN, "OPEN", "Begins an exchange: which application protocol, which method, by when."),
    (FrameType::MESSAGE, "MESSAGE", "One message of the application."),
    (FrameType::DATA, "DATA", "Bulk bytes of the application; passed on as they arrive."),
    (FrameType::END, "END", "The sender has said everything, and succeeded."),
    (FrameType::ERROR, "ERROR", "The sender ends the exchange with a failure."),
];

impl StreamType {
    /// The control stream: HELLO first, then GOAWAY. Exactly one in each direction, never ended.
    pub const CONTROL: StreamType = StreamType(0x00);
}

/// Every registered type of unidirectional stream with its name and meaning, in ascending order.
pub const STREAM_TYPES: &[(StreamType, &str, &str)] = &[(
    StreamType::CONTROL,
    "CONTROL",
    "The control stream: HELLO first, then GOAWAY. Exactly one in each direction, never ended.",
)];

/// Signature contexts: what precedes the bytes that are signed.
pub mod context {
    /// A receiving device states that it holds a transfer's bytes (chapter 5). Signed with the device key.
    pub const RECEIPT: &[u8] = b"hikyaku/1 receipt\0";
}

/// Names of application protocols, as OPEN carries them.
pub mod application {
    /// Redeeming an invite; the only application a stranger may open. Chapter 6.
    pub const ENROLL: &str = "enroll/1";
    /// Rooms as durable logs. Chapter 4.
    pub const CHAT: &str = "chat/1";
    /// Files and trees of any size, verified and resumable. Chapter 5.
    pub const FILES: &str = "files/1";
    /// Users, devices and invites of a server; shares its error range with enroll/1. Chapter 6.
    pub const ACCOUNTS: &str = "accounts/1";
}

/// Every registered extension id with its name, in ascending order.
pub const EXTENSIONS: &[(u64, &str)] = &[];
