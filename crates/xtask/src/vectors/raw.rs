//! Vectors below the messages: varints, frames, datagrams, CBOR outside the profile, and every error code.

use bytes::Bytes;
use hikyaku_wire::cbor;
use hikyaku_wire::codes::{ERROR_CODES, ErrorCode, StreamType};
use hikyaku_wire::exchange::{Failure, Goaway, Open, encode_datagram, stream_id};
use hikyaku_wire::frame::{self, Decoder, FrameLimits, FrameType, Piece};
use hikyaku_wire::varint;
use serde_json::{Value, json};

use super::cddl::Cddl;
use super::samples::session;
use super::{Table, Vector, describe, hex, vector};

/// Varints at every edge, in their shortest form and in longer ones.
pub(crate) fn varints() -> Result<Table, String> {
    let edges = [0, 1, 37, 63, 64, 255, 15_293, 16_383, 16_384, 494_878_333, (1 << 30) - 1, 1 << 30];
    let values = edges.into_iter().chain([(1 << 53) - 1, 151_288_809_941_952_652, varint::MAX]);
    let mut vectors: Vec<Vector> = values
        .map(|value| {
            let mut bytes = Vec::new();
            varint::encode(value, &mut bytes);
            // Beyond 2^53 JSON readers lose digits, so the value is text.
            vector([
                ("hex", hex(&bytes).into()),
                ("value", value.to_string().into()),
                ("shortest", true.into()),
            ])
        })
        .collect();
    for longer in
        [&[0x40, 0x25][..], &[0x80, 0, 0, 0x25], &[0xc0, 0, 0, 0, 0, 0, 0x3f, 0xff], &[0x80, 0, 0x3f, 0xff]]
    {
        let (value, _) = varint::decode(longer).ok_or("a varint of the table is cut off")?;
        vectors.push(vector([
            ("hex", hex(longer).into()),
            ("value", value.to_string().into()),
            ("shortest", false.into()),
        ]));
    }
    for cut in [&[][..], &[0x40], &[0x80, 0, 0], &[0xc0, 0, 0, 0, 0, 0, 0]] {
        vectors.push(vector([("hex", hex(cut).into()), ("error", "cut off".into())]));
    }
    let about = "Varints (chapter 2). `value` is decimal text; `shortest` says whether a sender may write it so. \
                 With `error` instead, the bytes end before the varint does.";
    Ok(Table { name: "varint", about, vectors })
}

/// Whole streams, well formed and not.
pub(crate) fn frames() -> Result<Table, String> {
    let mut vectors = Vec::new();
    for (name, bytes, skip) in streams() {
        let seen = read(bytes.get(skip..).unwrap_or_default()).map_err(|code| format!("{name}: {code}"))?;
        vectors.push(vector([("name", name.into()), ("hex", hex(&bytes).into()), ("frames", seen)]));
    }
    for (name, bytes) in broken_streams() {
        let Err(code) = read(&bytes) else { return Err(format!("{name}: was read without an error")) };
        vectors.push(vector([("name", name.into()), ("hex", hex(&bytes).into()), ("error", named(code))]));
    }
    let about = "Streams and the frames in them (chapter 3), under the smallest limits a receiver may have (rule S3.13, \
                 with max_message 1 MiB and max_metadata 4,096). Unknown types are skipped. The control stream begins \
                 with its type. With `error` instead, reading ends with that code.";
    Ok(Table { name: "frames", about, vectors })
}

fn streams() -> Vec<(&'static str, Vec<u8>, usize)> {
    let stream = |frames: &[(u64, &[u8])]| {
        let mut out = Vec::new();
        for (ty, payload) in frames {
            frame::encode(FrameType(*ty), payload, &mut out);
        }
        out
    };
    let open = Open::new("hello/1", "").encode();
    let failure = Failure::new(ErrorCode::NOT_FOUND, "no such greeting").encode();
    let goaway = Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 10_000, message: String::new() }.encode();
    let mut control = Vec::new();
    varint::encode(StreamType::CONTROL.0, &mut control);
    control.extend(stream(&[(0x01, &session::hello().encode()), (0x5f, b"grease"), (0x02, &goaway)]));
    let hello = b"\x6dHello, Server";
    vec![
        ("a control stream: HELLO, grease, GOAWAY", control, 1),
        ("a request with one message", stream(&[(0x10, &open), (0x11, hello), (0x13, b"")]), 0),
        (
            "an answer with a message and bulk data",
            stream(&[(0x11, &[0x01]), (0x12, b"bulk"), (0x13, b"")]),
            0,
        ),
        ("a failed answer", stream(&[(0x14, &failure)]), 0),
        (
            "grease before the first frame and after the last",
            stream(&[(0x21, b""), (0x13, b""), (0x40, b"xyz")]),
            0,
        ),
        ("a grease type of eight bytes", stream(&[(0x1f * 0x0fff_ffff_ffff + 0x21, b"?"), (0x13, b"")]), 0),
        (
            "DATA without bytes, then DATA in two frames",
            stream(&[(0x12, b""), (0x12, b"ab"), (0x12, b"c")]),
            0,
        ),
        ("a length of two bytes", stream(&[(0x12, &[7; 64]), (0x13, b"")]), 0),
        ("nothing", Vec::new(), 0),
    ]
}

fn broken_streams() -> Vec<(&'static str, Vec<u8>)> {
    let header = |ty: u64, length| {
        let mut out = Vec::new();
        frame::encode_header(FrameType(ty), length, &mut out);
        out
    };
    let limits = FrameLimits::default();
    vec![
        ("a type of two bytes where one does", vec![0x40, 0x13, 0x00]),
        ("a length of two bytes where one does", vec![0x11, 0x40, 0x01, 0x00]),
        ("a long type, even of an unknown frame", vec![0x80, 0x00, 0x00, 0x21, 0x00]),
        ("END with a payload", vec![0x13, 0x01, 0x00]),
        ("a stream that ends inside a header", vec![0x11]),
        ("a stream that ends inside a type", vec![0x40]),
        ("a stream that ends inside a message", vec![0x11, 0x02, 0x00]),
        ("a stream that ends inside data", vec![0x12, 0x02, 0x00]),
        ("a stream that ends inside an unknown frame", vec![0x21, 0x02, 0x00]),
        ("a message longer than max_message", header(0x11, limits.max_message + 1)),
        ("an OPEN longer than max_metadata and 2,048", header(0x10, limits.max_metadata + 1)),
        ("an ERROR longer than max_metadata and 2,048", header(0x14, limits.max_metadata + 1)),
        ("a DATA frame of more than 16 MiB", header(0x12, limits.max_data_frame + 1)),
        ("an unknown frame of more than 64 KiB", header(0x21, limits.max_skipped + 1)),
        ("a message as long as can be written", header(0x11, varint::MAX)),
    ]
}

/// The frames of a stream, or the code it ends with.
fn read(bytes: &[u8]) -> Result<Value, ErrorCode> {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.push(Bytes::copy_from_slice(bytes));
    let mut frames = Vec::new();
    while let Some(piece) = decoder.next().map_err(|error| error.code())? {
        let (ty, payload) = match piece {
            Piece::Frame { ty, payload } => (ty, payload),
            Piece::Data { chunk, .. } => (FrameType::DATA, chunk),
        };
        let name = ty.name().unwrap_or_default();
        frames.push(json!({ "type": format!("{:#04x}", ty.0), "name": name, "payload": hex(&payload) }));
    }
    decoder.finish().map_err(|error| error.code())?;
    Ok(frames.into())
}

fn named(code: ErrorCode) -> Value {
    code.name().unwrap_or_default().into()
}

/// Datagrams and the exchange they belong to.
pub(crate) fn datagrams() -> Table {
    let mut vectors: Vec<Vector> =
        [(0, "typing"), (1, ""), (2, "x"), (63, "x"), (64, "x"), ((1 << 61) - 1, "x")]
            .into_iter()
            .map(|(number, payload)| {
                let mut bytes = Vec::new();
                encode_datagram(number, payload.as_bytes(), &mut bytes);
                let stream = stream_id(number).unwrap_or_default().to_string();
                vector([
                    ("hex", hex(&bytes).into()),
                    ("exchange", number.to_string().into()),
                    ("stream", stream.into()),
                    ("payload", hex(payload.as_bytes()).into()),
                ])
            })
            .collect();
    for broken in [&[][..], &[0x40], &[0x40, 0x01, 0xff], &[0xc0, 0, 0, 0, 0, 0, 0, 1]] {
        vectors.push(vector([("hex", hex(broken).into()), ("error", "DATAGRAM_ERROR".into())]));
    }
    let about = "Datagrams (chapter 3): `exchange` is the number they carry, `stream` the id of the exchange's stream, both \
                 decimal text.";
    Table { name: "datagrams", about, vectors }
}

/// CBOR that every receiver refuses, and some at the edge that it accepts.
pub(crate) fn malformed_cbor() -> Result<Table, String> {
    let mut vectors = Vec::new();
    for (bytes, why) in refused() {
        if cbor::check(&bytes, &cbor::Limits::default()).is_ok() {
            return Err(format!("the profile accepts {} ({why})", hex(&bytes)));
        }
        vectors.push(vector([("hex", hex(&bytes).into()), ("accepted", false.into()), ("why", why.into())]));
    }
    for (bytes, why) in accepted() {
        cbor::check(&bytes, &cbor::Limits::default()).map_err(|error| format!("{}: {error}", hex(&bytes)))?;
        vectors.push(vector([("hex", hex(&bytes).into()), ("accepted", true.into()), ("why", why.into())]));
    }
    let about = "The CBOR profile (chapter 3, rule S3.80): what a receiver refuses, and what it accepts although a \
                 sender would not write it or although it looks suspicious.";
    Ok(Table { name: "cbor", about, vectors })
}

fn refused() -> Vec<(Vec<u8>, &'static str)> {
    let nested = |opener: &[u8]| [opener.repeat(17), vec![0x00]].concat();
    vec![
        (vec![], "nothing"),
        (vec![0x9f, 0xff], "an array of indefinite length"),
        (vec![0xbf, 0xff], "a map of indefinite length"),
        (vec![0x5f, 0x41, 0x00, 0xff], "bytes of indefinite length"),
        (vec![0x7f, 0x61, 0x61, 0xff], "text of indefinite length"),
        (vec![0xff], "a break"),
        (vec![0x18, 0x17], "23 in two bytes"),
        (vec![0x19, 0x00, 0xff], "255 in three bytes"),
        (vec![0x1a, 0x00, 0x00, 0xff, 0xff], "65,535 in five bytes"),
        (vec![0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], "2^32 - 1 in nine bytes"),
        (vec![0x38, 0x00], "-1 in two bytes"),
        (vec![0x58, 0x01, 0x00], "a length of one in two bytes"),
        (vec![0x98, 0x01, 0x00], "a count of one in two bytes"),
        (vec![0x1b, 0, 0x20, 0, 0, 0, 0, 0, 0], "2^53"),
        (vec![0x3b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "-2^53"),
        (vec![0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "2^64 - 1"),
        (vec![0xf9, 0x3c, 0x00], "a float of two bytes"),
        (vec![0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], "a float of eight bytes"),
        (vec![0xc0, 0x00], "a tag"),
        (vec![0xd9, 0xd9, 0xf7, 0x00], "the tag that says: this is CBOR"),
        (vec![0xf7], "undefined"),
        (vec![0xe0], "an unassigned simple value"),
        (vec![0xf8, 0x20], "an unassigned simple value in two bytes"),
        (vec![0x1c], "a reserved length"),
        (vec![0xa1, 0x20, 0x00], "a negative key"),
        (vec![0xa1, 0x41, 0x00, 0x00], "a key of bytes"),
        (vec![0xa1, 0x80, 0x00], "an array as a key"),
        (vec![0xa1, 0xf5, 0x00], "true as a key"),
        (vec![0xa2, 0x00, 0x01, 0x00, 0x02], "the same key twice, side by side"),
        (vec![0xa3, 0x05, 0x01, 0x00, 0x02, 0x05, 0x00], "the same key twice, apart"),
        (vec![0x61, 0xff], "text that is not UTF-8"),
        (vec![0x63, 0xed, 0xa0, 0x80], "a surrogate in text"),
        (vec![0x62, 0xc0, 0x80], "an overlong character"),
        (vec![0x18], "a number that is cut off"),
        (vec![0x42, 0x00], "bytes that are cut off"),
        (vec![0x82, 0x00], "an array that is cut off"),
        (vec![0xa1, 0x00], "a key without a value"),
        (vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "an array that claims 2^64 - 1 items"),
        (vec![0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0], "a map that claims 2^63 entries"),
        (vec![0x5b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "bytes that claim 2^53 - 1"),
        (vec![0x00, 0x00], "two items"),
        (nested(&[0x81]), "arrays nested 17 deep"),
        (nested(&[0xa1, 0x00]), "maps nested 17 deep"),
    ]
}

fn accepted() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (vec![0xa2, 0x01, 0x00, 0x00, 0x00], "keys that descend: a sender sorts, a receiver does not care"),
        (vec![0xa2, 0x00, 0x00, 0x61, 0x61, 0x00], "a key of text"),
        (vec![0xa2, 0x00, 0xa1, 0x00, 0x00, 0x01, 0xa1, 0x00, 0x00], "the same key in two maps"),
        (vec![0x1b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "2^53 - 1"),
        (vec![0x3b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], "-(2^53 - 1)"),
        (vec![0x41, 0xff], "bytes need not be UTF-8"),
        (vec![0x63, 0x65, 0xcc, 0x81], "text need not be normalised"),
        ([[0x81].repeat(16), vec![0x00]].concat(), "arrays nested 16 deep"),
        (vec![0xf6], "null"),
    ]
}

/// Every error code in an ERROR frame, and some that nobody has registered.
pub(crate) fn errors(cddl: &Cddl) -> Result<Table, String> {
    let unknown = [0x3f, 0x7f, 0xf7, 0x0fff, 0x10ff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff].map(ErrorCode);
    let mut vectors = Vec::new();
    for code in ERROR_CODES.iter().map(|(code, _, _)| *code).chain(unknown) {
        let payload = Failure::new(code, code.meaning().unwrap_or("not registered")).encode();
        cddl.judge("failure", &payload)?;
        let mut frame_bytes = Vec::new();
        frame::encode(FrameType::ERROR, &payload, &mut frame_bytes);
        vectors.push(vector([
            ("code", format!("{:#04x}", code.0).into()),
            ("name", code.name().map_or(Value::Null, Value::from)),
            ("class", code.class().to_string().into()),
            ("treated_as", named(code.generic())),
            ("frame", hex(&frame_bytes).into()),
            ("diagnostic", describe::diagnostic(&payload).into()),
        ]));
    }
    let about = "Every registered error code (chapter 6), as a whole ERROR frame; then some that nobody registered, with \
                 null as name. `treated_as` is what a receiver that does not know better takes the code for.";
    Ok(Table { name: "errors", about, vectors })
}
