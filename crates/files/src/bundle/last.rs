//! What a bundle says of itself at its end, for who does not read the rest of it.

use hikyaku_wire::bundle::{Done, RecordType};
use hikyaku_wire::{cbor, varint};

/// The last record of a bundle is not longer.
pub const MAX_LAST: usize = 128;

/// The counts in the last record, out of the last bytes of a bundle, [`MAX_LAST`] or all. `None` where they do not end in
/// such a record. Of bytes that are no bundle it may be anything; who reads the whole is told whether it is true.
pub fn last(tail: &[u8]) -> Option<Done> {
    (0..tail.len()).find_map(|at| {
        let record = tail.get(at..)?;
        let (ty, begin) = varint::decode(record)?;
        let (len, more) = varint::decode(record.get(begin..)?)?;
        let payload = record.get(begin + more..)?;
        let is_one = ty == RecordType::DONE.0 && len == payload.len() as u64;
        is_one.then(|| cbor::decode(payload, &cbor::Limits::default()).ok()).flatten()
    })
}
