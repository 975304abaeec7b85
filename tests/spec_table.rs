//! Tables of the specification that the code makes itself: a test drives the real state machine with every event in every
//! state, and the chapter must hold what came of it. `cargo xtask tables` writes the tables anew.

use std::path::Path;

/// A state: its name, and how to get there.
pub(crate) type State<M> = (&'static str, fn() -> M);
/// An event: its name, and where it leads.
pub(crate) type Event<M> = (&'static str, fn(M) -> String);

/// One table: what its rows are, its columns, and its cells.
pub(crate) struct Table {
    pub(crate) corner: &'static str,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<(&'static str, Vec<String>)>,
}

impl Table {
    /// Drives a fresh machine with every event in every state.
    pub(crate) fn drive<M>(corner: &'static str, states: &[State<M>], events: &[Event<M>]) -> Self {
        let row = |machine: &fn() -> M| events.iter().map(|(_, event)| event(machine())).collect();
        Self {
            corner,
            columns: events.iter().map(|(name, _)| *name).collect(),
            rows: states.iter().map(|(name, machine)| (*name, row(machine))).collect(),
        }
    }

    fn markdown(&self) -> String {
        let mut lines = vec![format!("| {} | {} |", self.corner, self.columns.join(" | "))];
        lines.push(format!("|{}", "---|".repeat(self.columns.len() + 1)));
        lines.extend(
            self.rows.iter().map(|(state, cells)| format!("| **{state}** | {} |", cells.join(" | "))),
        );
        lines.join("\n") + "\n"
    }

    /// Compares with the table of this name in a chapter, or writes it there when asked to.
    pub(crate) fn is_in(&self, chapter: &str, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec").join(chapter);
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = (format!("<!-- table: {name} -->\n"), "<!-- end of table -->");
        let (before, rest) =
            text.split_once(&begin).unwrap_or_else(|| panic!("{chapter} has no table {name}"));
        let (found, after) = rest.split_once(end).unwrap_or_else(|| panic!("the table {name} has no end"));
        let made = self.markdown();
        if std::env::var_os("HIKYAKU_WRITE_TABLES").is_some() {
            std::fs::write(&path, [before, &begin, &made, end, after].concat()).unwrap();
            return;
        }
        assert_eq!(
            found, made,
            "{chapter}, {name}: the machine does something else; `cargo xtask tables` writes the table anew"
        );
    }
}
