//! A bound on frames that carry nothing: unknown ones, which are skipped, and DATA without bytes. They are permitted and
//! cost two bytes each, so a peer could keep this side busy with nothing at all. Pure: the time is passed in.

use std::time::{Duration, Instant};

use hikyaku_wire::codes::ErrorCode;

use crate::error::Error;

/// What is left of one second's frames. A connection has one, for all of its streams.
#[derive(Debug)]
pub(crate) struct Allowance {
    limit: u64,
    left: u64,
    since: Option<Instant>,
}

impl Allowance {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, left: limit, since: None }
    }

    /// So many such frames came.
    //= S3.94
    pub(crate) fn spend(&mut self, frames: u64, now: Instant) -> Result<(), Error> {
        let fresh =
            self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        if fresh {
            (self.left, self.since) = (self.limit, Some(now));
        }
        self.left = self.left.checked_sub(frames).ok_or_else(|| {
            let limit = self.limit;
            let reason =
                format!("more than our {limit} frames in a second that carry nothing (max_void_frames)");
            Error::protocol(ErrorCode::LIMIT_EXCEEDED, reason)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_limit_may_come_in_a_second_and_one_more_may_not() {
        let mut allowance = Allowance::new(100);
        let start = Instant::now();
        allowance.spend(60, start).unwrap();
        allowance.spend(40, start + Duration::from_millis(999)).unwrap();
        let error = allowance.spend(1, start + Duration::from_millis(999)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::LIMIT_EXCEEDED);
        assert!(error.to_string().contains("100 frames in a second"), "{error}");
        allowance.spend(100, start + Duration::from_secs(1)).unwrap();
        allowance.spend(1, start + Duration::from_millis(1_001)).unwrap_err();
    }
}
