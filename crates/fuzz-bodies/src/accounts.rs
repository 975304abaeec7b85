//! What is done with hostile text in the crate `hikyaku-accounts`: invite links come from wherever people paste them.

use hikyaku_accounts::{InviteLink, Secret, UserName, parse_invite_id};

/// A link is read or refused; what is read is written in the one spelling that reads back as the same link.
pub fn invite_link(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(link) = text.parse::<InviteLink>() {
        assert!(!link.addresses.is_empty());
        assert_eq!(link.to_string().parse().as_ref(), Ok(&link));
        // A link may have its secret for a host name too: what is printed depends on anything but the secret.
        let other = InviteLink { secret: Secret::from_bytes([7; 16]), ..link.clone() };
        assert_eq!(format!("{link:?}"), format!("{other:?}"));
    }
    let _ = parse_invite_id(text);
    if let Ok(name) = text.parse::<UserName>() {
        assert!(name.as_str().chars().all(|character| !character.is_control()));
    }
}
