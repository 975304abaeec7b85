//! How many refusals of one user have lines of their own: [`BURST`] at once, and one more every [`EVERY`]. The rest is counted.
//! So nobody pushes what others did out of the record by asking again and again for what is refused.
//!
//! Pure: the time is passed in, and whoever asks writes the lines.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lines of refusals that come at once.
pub(super) const BURST: u32 = 20;
/// How long it takes until there is one more, and how long refusals are counted before their number is written.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// What is known of those who were refused something lately.
#[derive(Debug)]
pub(super) struct Refusals<Whose>(HashMap<Whose, Lately>);

#[derive(Debug)]
struct Lately {
    /// When everything is forgotten: each line puts it off by [`EVERY`].
    until: Instant,
    /// What the user is called.
    called: Option<String>,
    /// Those without a line, that nothing was written of yet.
    counted: u64,
}

/// Refusals that were only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// What the user is called.
    pub(super) called: Option<String>,
    /// How many.
    pub(super) more: u64,
}

/// What is to be done with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has its line.
    Line,
    /// It is counted; it is the first, and [`Refusals::take`] is due after [`EVERY`].
    First,
    /// It is counted, beside others.
    Counted,
}

impl<Whose> Default for Refusals<Whose> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Whose: Eq + Hash> Refusals<Whose> {
    /// Somebody, who is called so, was refused something.
    pub(super) fn refused(&mut self, whose: Whose, called: Option<&str>, now: Instant) -> Told {
        self.0.retain(|_, lately| lately.until > now || lately.counted > 0);
        let lately = self.0.entry(whose).or_insert(Lately { until: now, called: None, counted: 0 });
        let until = lately.until.max(now) + EVERY;
        if until.duration_since(now) <= EVERY * BURST {
            lately.until = until;
            return Told::Line;
        }
        lately.counted += 1;
        lately.called = called.map(str::to_owned);
        if lately.counted == 1 { Told::First } else { Told::Counted }
    }

    /// Those that were counted, which begins anew; `None` when there are none.
    pub(super) fn take(&mut self, whose: &Whose) -> Option<Counted> {
        self.0.get_mut(whose).and_then(Lately::take)
    }

    /// The same, of everybody.
    pub(super) fn take_all(&mut self) -> Vec<(Whose, Counted)>
    where
        Whose: Clone,
    {
        self.0.iter_mut().filter_map(|(whose, lately)| Some((whose.clone(), lately.take()?))).collect()
    }
}

impl Lately {
    fn take(&mut self) -> Option<Counted> {
        let more = std::mem::take(&mut self.counted);
        (more > 0).then(|| Counted { called: self.called.take(), more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_refusals_have_lines_and_the_others_are_counted() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let told: Vec<_> = (0..BURST + 3).map(|_| refusals.refused("ana", Some("Ana"), start)).collect();
        let (lines, counted) = told.split_at(BURST as usize);
        assert!(lines.iter().all(|told| *told == Told::Line), "{told:?}");
        assert_eq!(counted, [Told::First, Told::Counted, Told::Counted]);
        assert_eq!(refusals.refused("ben", None, start), Told::Line, "another's are not counted with them");
        let three = Counted { called: Some("Ana".to_owned()), more: 3 };
        assert_eq!(refusals.take(&"ana"), Some(three));
        assert_eq!((refusals.take(&"ana"), refusals.take(&"ben")), (None, None));
        assert_eq!(refusals.refused("ana", None, start + EVERY / 2), Told::First);
        assert_eq!(refusals.refused("ana", None, start + EVERY), Told::Line);
        assert_eq!(refusals.refused("ana", None, start + EVERY), Told::Counted);
        assert_eq!(refusals.take_all(), [("ana", Counted { called: None, more: 2 })]);
        assert_eq!(refusals.take_all(), []);
    }

    #[test]
    fn who_was_refused_long_ago_is_forgotten() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        for who in 0..100 {
            refusals.refused(who, None, start);
        }
        for _ in 0..=BURST {
            refusals.refused(100, None, start);
        }
        refusals.refused(101, None, start + EVERY * BURST);
        assert_eq!(refusals.0.len(), 2, "whose number is still to be written, and the latest");
    }
}
