//! `--limit-rate`: at most so many bytes a second.

use std::str::FromStr;

use clap::Args;
use hikyaku_files::Pace;

/// The bound, if there is one.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Limit {
    /// The most bytes a second, on average: 500K, 10M, 1.5G (of 1,024)
    #[arg(long, value_name = "RATE")]
    limit_rate: Option<Rate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate(u64);

impl Limit {
    pub(crate) fn pace(self) -> Option<Pace> {
        self.limit_rate.map(|rate| Pace::new(rate.0))
    }

    /// The bytes that may be on their way to this side without going faster than the bound for long: those of a second.
    pub(crate) fn window(self) -> Option<u64> {
        self.limit_rate.map(|rate| rate.0)
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a rate is a number of bytes a second, with K, M or G: 500K, 10M, 1.5G";
        let (number, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit() && *c != '.') {
            Some((at, _)) => text.split_at(at),
            None => (text, ""),
        };
        let factor = match unit {
            "" => 1.0,
            "k" | "K" => 1024.0,
            "m" | "M" => 1024.0 * 1024.0,
            "g" | "G" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong),
        };
        let rate = number.parse::<f64>().map_err(|_| wrong)? * factor;
        // Beyond 2^53 there is nothing to limit.
        if (1.0..9e15).contains(&rate) { Ok(Self(rate as u64)) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        for (text, rate) in [("1", 1), ("500K", 512_000), ("10M", 10_485_760), ("1.5g", 1_610_612_736)] {
            assert_eq!(text.parse(), Ok(Rate(rate)), "{text}");
        }
        for text in ["", "0", "K", "-1", "1T", "1.2.3", "inf", "NaN", "1e9", "99999999G"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
