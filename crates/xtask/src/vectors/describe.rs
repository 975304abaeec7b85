//! CBOR bytes as JSON, for readers without a CBOR library: integers, text, booleans, null and arrays as themselves, a
//! byte string as `{"bytes": "hexadecimal"}`, a map as `{"map": [[key, value], …]}` in the order of the bytes.

use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::{Value, json};

/// The whole of `bytes`, one item.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, String> {
    item(&mut Decoder::new(bytes)).map_err(|error| format!("a sample is no CBOR: {error}"))
}

/// The same in the diagnostic notation of RFC 8949 §8, for people.
pub(crate) fn diagnostic(bytes: &[u8]) -> String {
    minicbor::display(bytes).to_string()
}

fn item(decoder: &mut Decoder<'_>) -> Result<Value, minicbor::decode::Error> {
    let at = decoder.position();
    Ok(match decoder.datatype()? {
        Type::Bool => json!(decoder.bool()?),
        Type::Null => {
            decoder.null()?;
            Value::Null
        }
        Type::Bytes => json!({ "bytes": super::hex(decoder.bytes()?) }),
        Type::String => json!(decoder.str()?),
        Type::Array => {
            let length = decoder.array()?.unwrap_or_default();
            Value::Array((0..length).map(|_| item(decoder)).collect::<Result<_, _>>()?)
        }
        Type::Map => {
            let length = decoder.map()?.unwrap_or_default();
            let pairs: Result<Vec<_>, _> =
                (0..length).map(|_| Ok(json!([item(decoder)?, item(decoder)?]))).collect();
            json!({ "map": pairs? })
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => json!(decoder.u64()?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => json!(decoder.i64()?),
        other => return Err(minicbor::decode::Error::type_mismatch(other).at(at)),
    })
}
