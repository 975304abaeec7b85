//! Links of a tree that is only looked at: which of them lead out, and so would not be made. They are in the bundle, which is
//! read although no file of it is wanted: it is small. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use hikyaku_wire::files::{List, Listed, MAX_AHEAD};

use super::{Missing, Only, Report, leads_out};
use crate::bundle::{Item, Position, Reader};
use crate::error::{FilesError, Result};
use crate::names::{Dots, SafeName};

/// Reads a bundle of which no file is wanted.
pub(crate) struct Links {
    reader: Reader,
    /// Files that were listed next to each other, and are not carried: how many, and the last.
    runs: VecDeque<(u64, SafeName)>,
    /// What was listed last is a file.
    in_run: bool,
    /// What is asked for, where that is not all.
    only: Option<Arc<Only>>,
    report: Report,
}

impl Links {
    pub(crate) fn new(dots: Dots, only: Option<Arc<Only>>) -> Self {
        let (reader, report) = (Reader::listed(dots), Report::default());
        Self { reader, runs: VecDeque::new(), in_run: false, only, report }
    }

    /// Takes in what is listed.
    pub(crate) fn list(&mut self, list: &List) -> Result<()> {
        for listed in &list.entries {
            let Listed::File { name, .. } = listed else {
                self.in_run = false;
                continue;
            };
            let name = SafeName::parse(name, Dots::Inside)?;
            let runs = self.runs.len();
            match self.runs.back_mut().filter(|_| self.in_run) {
                Some(run) => *run = (run.0 + 1, name),
                None if runs >= MAX_AHEAD => {
                    return Err(FilesError::Limit { name: "MAX_AHEAD", limit: MAX_AHEAD as u64 });
                }
                None => self.runs.push_back((1, name)),
            }
            self.in_run = true;
        }
        Ok(())
    }

    /// Takes the next bytes of the bundle.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(item) = self.reader.next(&mut bytes)? {
            match item {
                Item::Kept(count) => match self.runs.pop_front() {
                    Some((listed, last)) if listed == count => self.reader.pass(&last),
                    _ => return Err(FilesError::Order("other files are kept than were listed")),
                },
                Item::File(..) => return Err(FilesError::Order("a file that is not wanted")),
                Item::Symlink(name, link) => {
                    let path: Vec<_> = self.reader.position().into_iter().flat_map(Position::path).collect();
                    let is_out = leads_out(&link.target, path.len());
                    let path = [&path[..], &[name.as_bytes()]].concat().join(&b'/');
                    if is_out && self.only.as_ref().is_none_or(|only| only.has(&path)) {
                        self.report.add(path, Missing::LinkOut);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The links that lead out, as what is missing.
    pub(crate) fn out(self) -> Report {
        self.report
    }
}

#[cfg(test)]
mod tests {
    use hikyaku_wire::bundle::{Enter, Symlink};

    use super::*;
    use crate::bundle::Writer;
    use crate::unpack::MAX_REPORTED;

    fn file(name: &str) -> Listed {
        let name = name.as_bytes().to_vec();
        Listed::File {
            name,
            size: 1,
            mtime: 0,
            mtime_ns: 0,
            mode: 0,
            links: false,
            root: None,
            attributes: None,
        }
    }

    fn list(entries: Vec<Listed>) -> List {
        List { first: 0, entries, last: None }
    }

    #[test]
    fn links_that_lead_out_are_found_between_files_that_are_kept() {
        let mut links = Links::new(Dots::Refused, None);
        links.list(&list(vec![Listed::Enter(b"d".to_vec()), file("a")])).unwrap();
        let other = Listed::Other(b"l".to_vec());
        links.list(&list(vec![file("b"), other, file("m"), Listed::Leave])).unwrap();
        let mut writer = Writer::default();
        writer.enter(&Enter { name: b"d".to_vec() });
        writer.kept(2);
        for (name, target) in [(b"l", &b"../../up"[..]), (b"o", b"../d/a")] {
            writer.symlink(&Symlink { name: name.to_vec(), target: target.to_vec(), meta: None });
        }
        links.read(writer.written()).unwrap();
        assert_eq!(links.out().missing, [(b"d/l".to_vec(), Missing::LinkOut)]);
    }

    #[test]
    fn so_many_links_are_named_and_the_others_are_counted_and_none_that_is_not_asked_for() {
        for (only, expected) in [(None, MAX_REPORTED as u64 + 7), (Some(Only::of([b"d".to_vec()])), 0)] {
            let mut links = Links::new(Dots::Refused, only.map(Arc::new));
            links.list(&List { last: Some(true), ..list(Vec::new()) }).unwrap();
            let mut writer = Writer::default();
            for number in 0..MAX_REPORTED + 7 {
                let name = format!("{number:09}").into_bytes();
                writer.symlink(&Symlink { name, target: b"/".to_vec(), meta: None });
            }
            links.read(writer.written()).unwrap();
            let out = links.out();
            assert_eq!(
                (out.missing_count, out.missing.len()),
                (expected, MAX_REPORTED.min(expected as usize))
            );
        }
    }

    #[test]
    fn a_bundle_that_is_another_than_was_listed_is_refused() {
        let mut links = Links::new(Dots::Refused, None);
        links.list(&list(vec![file("a")])).unwrap();
        let mut writer = Writer::default();
        writer.kept(2);
        assert!(links.read(writer.written()).is_err());
        let mut links = Links::new(Dots::Refused, None);
        let apart = (0..=MAX_AHEAD).flat_map(|_| [file("a"), Listed::Leave]);
        assert!(matches!(links.list(&list(apart.collect())), Err(FilesError::Limit { .. })));
    }
}
