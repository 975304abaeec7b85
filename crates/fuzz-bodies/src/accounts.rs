//! What is done with hostile text in the crate `hikyaku-accounts`: invite links come from wherever people paste them.

use hikyaku_accounts::{InviteLink, UserName, parse_invite_id};

/// A link is read or refused; what is read is written in the one spelling that reads back as the same link.
pub fn invite_link(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(link) = text.parse::<InviteLink>() {
        assert!(!link.addresses.is_empty());
        assert_eq!(link.to_string().parse().as_ref(), Ok(&link));
        assert!(!format!("{link:?}").contains(link.to_string().rsplit('.').next().unwrap_or_default()));
    }
    let _ = parse_invite_id(text);
    if let Ok(name) = text.parse::<UserName>() {
        assert!(name.as_str().chars().all(|character| !character.is_control()));
    }
}
