//! Moments as people write and read them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// `2026-11-22T19:03:12.345Z`.
pub(crate) fn utc(ms: u64) -> String {
    timestamp(ms).map_or_else(|| ms.to_string(), |moment| format!("{moment:.3}"))
}

/// `2026-11-22 20:03:12` where this computer is.
pub(crate) fn local(ms: u64) -> String {
    let zoned = timestamp(ms).map(|moment| moment.to_zoned(TimeZone::system()));
    zoned.map_or_else(|| ms.to_string(), |zoned| zoned.strftime("%F %T").to_string())
}

/// `20:03` where this computer is.
pub(crate) fn clock(ms: u64) -> String {
    let zoned = timestamp(ms).map(|moment| moment.to_zoned(TimeZone::system()));
    zoned.map_or_else(|| ms.to_string(), |zoned| zoned.strftime("%H:%M").to_string())
}

/// Reads a moment (`2026-11-22T19:03:12Z`, `2026-11-22 20:03`, `2026-11-22`) or a time ago (`2h`), in milliseconds
/// since 1970.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    if let Ok(ago) = crate::args::duration(text) {
        let now = hikyaku_accounts::system_time();
        return Ok(now.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)));
    }
    let moment = text.parse::<Timestamp>().or_else(|_| {
        let civil: jiff::civil::DateTime = text.parse()?;
        civil.to_zoned(TimeZone::system()).map(|zoned: Zoned| zoned.timestamp())
    });
    let moment = moment.map_err(|_| {
        "a moment is '2026-11-22', '2026-11-22 20:03', '2026-11-22T19:03:12Z', or a time ago such as '2h'"
            .to_owned()
    })?;
    u64::try_from(moment.as_millisecond()).map_err(|_| "a moment before 1970".to_owned())
}

fn timestamp(ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back() {
        assert_eq!(utc(1_795_374_192_345), "2026-11-22T19:03:12.345Z");
        assert_eq!(parse("2026-11-22T19:03:12.345Z"), Ok(1_795_374_192_345));
        assert!(parse("2026-11-22").is_ok());
        assert!(parse("2026-11-22 20:03").is_ok());
        assert!(parse("2h").is_ok());
        for wrong in ["yesterday", "", "1969-01-01T00:00:00Z"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
