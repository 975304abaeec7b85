//! A parcel that is read while it is written: whoever writes comes, goes and begins earlier in any order, and readers look
//! whenever they like.

use hikyaku_files::passage::{End, Next, Passage, Place};
use hikyaku_files::tree::GROUP_LEN;
use hikyaku_wire::files::BLOCK_LEN;
use hikyaku_wire::parcel::Root;

use crate::input::Input;

/// The root of what is settled.
const ROOT: Root = Root([7; 32]);
/// How many read.
const READERS: u64 = 3;

/// What is written: from each offset on, the attempt that wrote it.
struct Written(Vec<(u64, u64)>);

/// A reader, and what it has read: from, to, and of which attempt.
struct Reader {
    place: Place,
    read: Vec<(u64, u64, u64)>,
    /// How many attempts there were when it began.
    attempts: u64,
}

impl Written {
    fn begin(&mut self, from: u64, attempt: u64) {
        self.0.retain(|(begin, _)| *begin < from);
        self.0.push((from, attempt));
    }

    /// The attempts that wrote this range.
    fn range(&self, from: u64, to: u64) -> Vec<(u64, u64, u64)> {
        let ends = self.0.iter().skip(1).map(|(begin, _)| *begin).chain([u64::MAX]);
        let clipped =
            self.0.iter().zip(ends).map(|((begin, attempt), end)| (from.max(*begin), to.min(end), *attempt));
        clipped.filter(|(from, to, _)| from < to).collect()
    }

    /// Whether what was read then is what would be read now.
    fn has(&self, read: &[(u64, u64, u64)]) -> bool {
        read.iter().all(|(from, to, attempt)| self.range(*from, *to).iter().all(|(.., now)| now == attempt))
    }
}

impl Reader {
    fn new(passage: &Passage, at: u64, attempts: u64) -> Self {
        Self { place: passage.place(at), read: Vec::new(), attempts }
    }
}

/// Nobody is given a byte that is not there, or goes on with one that was written again since; there is a close only of
/// what is settled, whoever has read all of it gets it, and after the end nothing moves.
pub fn passage(data: &[u8]) {
    let mut input = Input::new(data);
    let mut passage = Passage::default();
    let (mut written, mut attempts) = (Written(vec![(0, 0)]), 0);
    let mut ended = None;
    let mut readers: Vec<_> = (0..READERS).map(|_| Reader::new(&passage, 0, 0)).collect();
    while !input.is_empty() {
        let before = passage.arrival();
        match input.below(8) {
            0 => {
                let from = if input.below(4) == 0 {
                    input.long() >> 11
                } else {
                    before.bytes.min(input.short() * 64)
                };
                passage.begin(from);
                if ended.is_none() {
                    attempts += 1;
                    written.begin(from, attempts);
                }
            }
            1 => passage.reach(before.bytes + input.short() * 64),
            2 => passage.stop(),
            3 => passage.rest(input.short() * 64),
            4 => {
                let end = match input.below(4) {
                    0 => End::Aborted,
                    1 => End::Settled(ROOT, input.short() * 64),
                    _ => End::Settled(ROOT, before.bytes),
                };
                passage.end(end);
                ended.get_or_insert(end);
            }
            _ => {
                let number = usize::from(input.byte());
                let reader = &mut readers[number % (READERS as usize)];
                if !looks(&passage, reader, &written, ended) {
                    let at = if input.below(2) == 0 { 0 } else { input.short() * GROUP_LEN / 4 };
                    *reader = Reader::new(&passage, at, attempts);
                }
            }
        }
        assert!(!passage.is_writing() || ended.is_none());
        if let Some(End::Settled(_, size)) = ended {
            assert_eq!(passage.arrival().bytes, size, "nothing moves after the end");
        }
    }
}

/// A reader looks; false if it has to come back, or need not.
fn looks(passage: &Passage, reader: &mut Reader, written: &Written, ended: Option<End>) -> bool {
    let (at, available) = (reader.place.at, passage.arrival().bytes);
    let next = passage.next(&mut reader.place);
    assert_eq!(reader.place.at, at, "whoever reads moves its place itself");
    assert_eq!(next == Next::Aborted, ended == Some(End::Aborted));
    if let Next::Rewritten | Next::Aborted = next {
        let again = written.0.last().is_some_and(|(_, attempt)| *attempt > reader.attempts);
        assert!(next == Next::Aborted || again || ended.is_some() && at > available, "sent back for nothing");
        return false;
    }
    assert!(written.has(&reader.read), "{next:?} to one that has read what was written again");
    match next {
        Next::Send(len) => {
            let end = at + len;
            assert!(len > 0 && len <= BLOCK_LEN && end <= available);
            assert!(end == available || end.is_multiple_of(GROUP_LEN));
            reader.read.extend(written.range(at, end));
            reader.place.at = end;
        }
        Next::Wait => assert!(ended.is_none() && at >= available),
        Next::Close(root, size) => {
            assert_eq!((ended, at), (Some(End::Settled(root, size)), size), "only what is settled is closed");
        }
        Next::Rewritten | Next::Aborted => {}
    }
    true
}
