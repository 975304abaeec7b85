//! A tree that is listed ahead and then sent, by somebody who may say one thing and send another.

use hikyaku_files::bundle::Writer;
use hikyaku_files::names::Dots;
use hikyaku_files::unpack::Hearing;
use hikyaku_files::{Chain, Only};
use hikyaku_wire::bundle::{Done, Enter, FileEnd, FileHead, Leave, LeftOut, Reason};
use hikyaku_wire::files::{List, Listed, PutOptions, Verdict};

use crate::input::Input;

/// The most entries that one input lists.
const MAX_ENTRIES: usize = 256;

/// What the sender does otherwise than it was asked: with one entry, or at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    LeavesOut,
    SaysTwice,
    Renames,
    SendsUnwanted,
    MiscountsKept,
    Rechains,
    NeverEnds,
}

const LIES: [Lie; 8] = [
    Lie::None,
    Lie::LeavesOut,
    Lie::SaysTwice,
    Lie::Renames,
    Lie::SendsUnwanted,
    Lie::MiscountsKept,
    Lie::Rechains,
    Lie::NeverEnds,
];

/// Whatever is listed is refused or answered file by file; the bundle that keeps to the answers is taken to its end,
/// and none that does not is.
pub fn listing(data: &[u8]) {
    let mut input = Input::new(data);
    let (bits, lie) = (input.byte(), LIES[usize::from(input.byte()) % LIES.len()]);
    let is = |bit: u8| (bits & bit != 0).then_some(true);
    let options = PutOptions { distinct: is(1), aside: is(2), ..PutOptions::default() };
    let only = is(4).map(|_| Only::of([b"t".to_vec(), b"a/a".to_vec()]));
    let dots = if bits & 8 == 0 { Dots::Refused } else { Dots::Allowed };
    let mut hearing = Hearing::new(&options, dots, only).expect("no disk can fail");
    let Some((entries, verdicts)) = listed(&mut input, &mut hearing) else { return };
    // Each of them where the listing leads: what follows is a tree like any other.
    let at = usize::from(input.byte()) % entries.len().max(1);
    let Some(bundle) = bundle(&entries, &verdicts, lie, at) else { return };
    let mut taken = Ok(());
    for piece in bundle.chunks(usize::from(input.byte()) + 1) {
        taken = hearing.take(piece);
        if taken.is_err() {
            break;
        }
    }
    let is_whole = taken.is_ok() && hearing.is_done();
    assert_eq!(is_whole, lie == Lie::None, "{lie:?} at {at} of {entries:?}: {taken:?}");
}

/// Lists what the input says, in messages of the lengths that it says; what was listed, and the verdicts.
fn listed(input: &mut Input<'_>, hearing: &mut Hearing) -> Option<(Vec<Listed>, Vec<Verdict>)> {
    let (mut all, mut verdicts, mut part) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let entry = match input.below(6) {
            0 => Some(Listed::Enter(input.counted().to_vec())),
            1 => Some(Listed::Leave),
            2 => Some(file(input)),
            3 => Some(Listed::Other(input.counted().to_vec())),
            _ => None,
        };
        let is_last = input.is_empty() || all.len() >= MAX_ENTRIES;
        let is_part = entry.is_none() || is_last;
        part.extend(entry.clone());
        all.extend(entry);
        if is_part {
            let files = part.iter().filter(|entry| matches!(entry, Listed::File { .. })).count();
            let first = verdicts.len() as u64;
            let list = List { first, entries: std::mem::take(&mut part), last: is_last.then_some(true) };
            let wants = hearing.answer(list).ok()?;
            assert_eq!(wants.as_ref().map_or(0, |wants| wants.verdicts.len()), files, "one verdict for each");
            assert!(wants.as_ref().is_none_or(|wants| wants.first == first && wants.from.is_none()));
            verdicts.extend(wants.into_iter().flat_map(|wants| wants.verdicts).map(Verdict));
        }
        if is_last {
            return Some((all, verdicts));
        }
    }
}

fn file(input: &mut Input<'_>) -> Listed {
    let name = input.counted().to_vec();
    let (size, mtime, mtime_ns) = (input.below(16), 7, 9);
    Listed::File { name, size, mtime, mtime_ns, mode: 0o644, links: false, root: None, attributes: None }
}

/// The bundle of what was listed and wanted, but for one lie; `None` where there is nothing to lie about.
fn bundle(entries: &[Listed], verdicts: &[Verdict], lie: Lie, at: usize) -> Option<Vec<u8>> {
    let (mut out, mut verdicts) = (Out::default(), verdicts.iter());
    let mut lied = matches!(lie, Lie::None | Lie::MiscountsKept | Lie::Rechains | Lie::NeverEnds);
    for (number, entry) in entries.iter().enumerate() {
        let is_here = number >= at && !lied;
        let is_wanted = match entry {
            Listed::File { .. } => verdicts.next().is_some_and(|verdict| verdict.is_wanted()),
            _ => true,
        };
        match (lie, entry) {
            (Lie::LeavesOut, Listed::File { .. } | Listed::Other(_)) if is_here && is_wanted => lied = true,
            (Lie::SaysTwice, Listed::File { .. }) if is_here && is_wanted => {
                out.entry(entry, true, b"");
                out.entry(entry, true, b"");
                lied = true;
            }
            (Lie::Renames, Listed::File { .. } | Listed::Enter(_) | Listed::Other(_))
                if is_here && is_wanted =>
            {
                out.entry(entry, true, b"~");
                lied = true;
            }
            (Lie::SendsUnwanted, Listed::File { .. }) if is_here && !is_wanted => {
                out.entry(entry, true, b"");
                lied = true;
            }
            _ => out.entry(entry, is_wanted, b""),
        }
    }
    out.end(lie, lied)
}

#[derive(Default)]
struct Out {
    writer: Writer,
    chain: Chain,
    run: u64,
    done: Done,
}

impl Out {
    fn entry(&mut self, entry: &Listed, is_wanted: bool, suffix: &[u8]) {
        if let (Listed::File { name, size, mtime, mtime_ns, root, attributes, .. }, false) =
            (entry, is_wanted)
        {
            self.chain.push(name, *size, (*mtime, *mtime_ns), (*root, *attributes));
            self.run += 1;
            return;
        }
        self.end_run();
        let named = |name: &[u8]| [name, suffix].concat();
        match entry {
            Listed::Enter(name) => {
                self.writer.enter(&Enter { name: named(name) });
                self.done.entries += 1;
            }
            Listed::Leave => self.writer.leave(&Leave::default()),
            Listed::Other(name) => {
                self.writer.left_out(&LeftOut { name: named(name), reason: Reason::SPECIAL });
                self.done.left_out += 1;
            }
            Listed::File { name, size, .. } => {
                let head =
                    FileHead { name: named(name), size: *size, meta: None, attributes: None, from: None };
                self.writer.file(&head);
                if *size > 0 {
                    let count = usize::try_from(*size).unwrap_or(0);
                    let written = self.writer.bytes(count, |bytes| {
                        bytes.fill(7);
                        Ok::<_, std::convert::Infallible>(true)
                    });
                    assert_eq!(written, Ok(true));
                }
                self.writer.end(&FileEnd::default());
                self.done.entries += 1;
                self.done.bytes += size;
            }
        }
    }

    fn end_run(&mut self) {
        if self.run > 0 {
            self.writer.kept(self.run);
            self.done.kept = Some(self.done.kept.unwrap_or(0) + self.run);
            self.run = 0;
        }
    }

    fn end(mut self, lie: Lie, lied: bool) -> Option<Vec<u8>> {
        if lie == Lie::MiscountsKept {
            self.run += 1;
        }
        self.end_run();
        let mut chain = self.done.kept.map(|_| self.chain.value());
        if lie == Lie::Rechains {
            chain.as_mut()?.0[0] ^= 1;
        }
        if lie != Lie::NeverEnds {
            self.writer.done(&Done { chain, ..self.done });
        }
        lied.then(|| self.writer.written().to_vec())
    }
}
