//! How much of everything there may be. Reaching a limit gives an error that names it.

/// The most devices of one user.
pub const MAX_DEVICES: usize = 64;
/// The most open invites of one user; the operator counts as one user.
pub const MAX_INVITES: usize = 100;
/// The most devices that may redeem one invite.
pub const MAX_USES: u32 = 1_000;
/// The longest that an invite is valid, in milliseconds: 30 days.
pub const MAX_TTL_MS: u64 = 30 * DAY_MS;
/// The shortest that an invite is valid, in milliseconds: a second.
pub const MIN_TTL_MS: u64 = 1_000;
/// How long an invite is valid when nobody says otherwise: a day.
pub const INVITE_TTL_MS: u64 = DAY_MS;
/// How long an invite for one more device is valid when nobody says otherwise: ten minutes.
pub const DEVICE_INVITE_TTL_MS: u64 = 10 * 60 * 1_000;
/// How long the invite is valid that a server prints at its first start: 15 minutes.
pub const FIRST_INVITE_TTL_MS: u64 = 15 * 60 * 1_000;
/// The most entries in one page of a list.
pub const MAX_PAGE: usize = 100;

/// A day in milliseconds.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
