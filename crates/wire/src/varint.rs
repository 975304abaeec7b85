//! Variable-length integers: QUIC's (RFC 9000 §16), at most 2^62 − 1.
//!
//! The two highest bits of the first byte say how long the integer is: 1, 2, 4 or 8 bytes. The length is
//! known from the first byte alone, so a reader never loops and never guesses. Spec: chapter 2.

use bytes::BufMut;

/// The largest value a varint can hold: 2^62 − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// The largest encoded length in bytes.
pub const MAX_LEN: usize = 8;

/// Appends the shortest encoding of `value` to `out`.
///
/// # Panics
/// If `value` exceeds [`MAX`]: the caller chooses every value it sends, so this is a bug, never a peer's doing.
///
/// ```
/// let mut out = Vec::new();
/// hikyaku_wire::varint::encode(15_293, &mut out);
/// assert_eq!(out, [0x7b, 0xbd]);
/// ```
//= S2.1
pub fn encode(value: u64, out: &mut impl BufMut) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(value as u16 | 0x4000),
        0x4000..=0x3fff_ffff => out.put_u32(value as u32 | 0x8000_0000),
        0x4000_0000..=MAX => out.put_u64(value | 0xc000_0000_0000_0000),
        _ => panic!("{value} does not fit a varint (at most 2^62 - 1)"),
    }
}

/// The length in bytes of the shortest encoding of `value`: 1, 2, 4 or 8.
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Reads one varint from the front of `bytes`.
///
/// Returns the value and the number of bytes it took, or `None` when `bytes` ends before the varint does
/// (the only way a varint can be wrong: every bit pattern is a value). Longer than necessary encodings are
/// accepted here; [`is_shortest`] tells, where the spec asks for it.
//= S2.2
pub fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = encoded_len(first);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

/// The length in bytes of the varint that begins with `first`.
pub const fn encoded_len(first: u8) -> usize {
    1 << (first >> 6)
}

/// Whether `length` bytes is the shortest encoding of `value`.
pub const fn is_shortest(value: u64, length: usize) -> bool {
    len(value) == length
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 9000 appendix A.1.
    #[test]
    fn the_examples_of_rfc_9000_decode() {
        for (hex, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(decode(hex), Some((value, hex.len())));
        }
        assert_eq!(decode(&[0x40, 0x25]), Some((37, 2)), "a longer encoding is a value too");
        assert!(!is_shortest(37, 2));
    }

    proptest! {
        //= S2.1 (test)
        #[test]
        fn what_is_encoded_decodes_to_itself_in_the_shortest_form(value in 0..=MAX, tail in any::<[u8; 3]>()) {
            let mut out = Vec::new();
            encode(value, &mut out);
            prop_assert_eq!(out.len(), len(value));
            out.extend(tail);
            prop_assert_eq!(decode(&out), Some((value, len(value))));
        }

        //= S2.2 (test)
        #[test]
        fn a_cut_varint_is_incomplete_never_a_value(value in 0..=MAX) {
            let mut out = Vec::new();
            encode(value, &mut out);
            for cut in 0..out.len() {
                prop_assert_eq!(decode(&out[..cut]), None);
            }
        }
    }
}
