//! New message ids: UUIDs of version 7 (RFC 9562, section 5.7).
//!
//! To the protocol an id is 128 bits that nobody used before. Beginning with the time, the ids of messages that are sent
//! together lie together in the server's index, and a commit of many changes few of its pages.

use hikyaku_wire::chat::MessageId;

/// An id that nobody used before, from the time in milliseconds since 1970 and random bits: 48 of the time and 74 of the
/// random ones, with the six that say what it is between them.
pub fn fresh_id(now_ms: u64, random: [u8; 16]) -> MessageId {
    let [_, _, time @ ..] = now_ms.to_be_bytes();
    let mut id = random;
    for (byte, time) in id.iter_mut().zip(time) {
        *byte = time;
    }
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut id;
    *version = 0x70 | (*version & 0x0f);
    *variant = 0x80 | (*variant & 0x3f);
    MessageId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_7_that_begins_with_the_time() {
        // The example of RFC 9562, appendix A.6.
        let random = [0, 0, 0, 0, 0, 0, 0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f];
        let expected = 0x017F_22E2_79B0_7CC3_98C4_DC0C_0C07_398F_u128.to_be_bytes();
        assert_eq!(fresh_id(0x017F_22E2_79B0, random), MessageId(expected));
        assert!(fresh_id(1, [255; 16]).0 < fresh_id(2, [0; 16]).0, "later ids are behind earlier ones");
        assert_ne!(fresh_id(1, [0; 16]), fresh_id(1, [1; 16]), "nor are those of one moment the same");
    }
}
