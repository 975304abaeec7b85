//! Lines on a terminal: broken between words, and what follows set in, so that it is seen to belong to what is above.

use std::io::{self, IsTerminal as _};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What stands before every row but the first.
const INDENT: &str = "    ";
/// On fewer columns nothing is broken but by the terminal.
pub(crate) const LEAST: usize = 20;

/// A text for standard output: in rows if that is a terminal, as it is if not.
pub(crate) fn for_output(text: String) -> String {
    if io::stdout().is_terminal() { wrap(&text, columns()) } else { text }
}

/// The columns of the terminal.
pub(crate) fn columns() -> usize {
    size_of(io::stdout()).0
}

/// Whether the terminal is so narrow that nothing is broken for it, and nothing is written again in its place.
pub(crate) fn is_narrow() -> bool {
    columns() < LEAST
}

/// The columns and rows of the terminal.
pub(crate) fn size() -> (usize, usize) {
    size_of(io::stdout())
}

/// The columns and rows of a terminal.
pub(crate) fn size_of(terminal: impl std::os::fd::AsFd) -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(terminal).map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let known = |size: u16, usual| if size == 0 { usual } else { usize::from(size) };
    (known(size.0, 80), known(size.1, 24))
}

/// The text with no row longer than `columns`.
pub(crate) fn wrap(text: &str, columns: usize) -> String {
    if columns < LEAST {
        return text.to_owned();
    }
    let lines = text.split('\n').map(|line| {
        let mut rows = Rows { columns, done: String::new(), row: String::new(), width: 0, gap: None };
        line.chars().for_each(|character| rows.push(character));
        rows.done + &rows.row
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// One line on its way into rows.
struct Rows {
    columns: usize,
    done: String,
    row: String,
    width: usize,
    /// Where the row may be broken.
    gap: Option<usize>,
}

impl Rows {
    fn push(&mut self, character: char) {
        let width = if character == '\t' { INDENT.len() } else { character.width().unwrap_or(0) };
        if width > 0 && self.width + width > self.columns {
            if character == ' ' {
                // The word before it is whole: nothing is carried on, and a row does not begin with it.
                self.gap = None;
                return self.end_row(width);
            }
            self.end_row(width);
        }
        if width == 2 {
            self.gap = Some(self.row.len());
        }
        // What has no width belongs to what stands before it.
        let follows = width == 0 && self.gap == Some(self.row.len());
        match character {
            '\t' => self.row.push_str(INDENT),
            other => self.row.push(other),
        }
        self.width += width;
        if follows || width == 2 || (character.is_whitespace() && !self.row.trim_start().is_empty()) {
            self.gap = Some(self.row.len());
        }
    }

    /// Begins a new row, with what stands behind the last gap if there is room for it and `width` more.
    fn end_row(&mut self, width: usize) {
        let carried =
            self.gap.take().filter(|gap| !self.row.get(..*gap).unwrap_or_default().trim().is_empty());
        let carried = carried.map(|gap| self.row.get(gap..).unwrap_or_default().trim_start().to_owned());
        let fits = |carried: &String| INDENT.len() + carried.width() + width <= self.columns;
        let carried = carried.filter(fits).unwrap_or_default();
        let kept = self.row.len() - carried.len();
        self.done.push_str(self.row.get(..kept).unwrap_or_default().trim_end());
        self.done.push('\n');
        self.row = format!("{INDENT}{carried}");
        self.width = self.row.width();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_between_words_and_what_follows_is_set_in() {
        assert_eq!(wrap("20:03 ana: we meet at noon then", 20), "20:03 ana: we meet\n    at noon then");
        assert_eq!(wrap("short", 20), "short");
        assert_eq!(wrap("one\n    two", 20), "one\n    two");
        let word = "x".repeat(30);
        assert_eq!(wrap(&word, 20), format!("{}\n    {}", "x".repeat(20), "x".repeat(10)));
        assert_eq!(wrap("a\tb", 20), "a    b", "a tab is as wide as it is counted");
        assert_eq!(wrap("no columns at all here", 5), "no columns at all here");
    }

    #[test]
    fn words_stay_apart_wherever_a_row_ends() {
        let text = "20:03 ana: this is a very long line that should wrap somewhere in the middle of it, and then go on";
        for columns in LEAST..90 {
            let rows = wrap(text, columns);
            assert_eq!(
                rows.split_whitespace().collect::<Vec<_>>(),
                text.split_whitespace().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn wide_characters_are_broken_anywhere_but_never_halved() {
        let text = "20:03 ana: 飛脚は江戸時代の飛脚で手紙を運んだ";
        assert_eq!(wrap(text, 21), "20:03 ana: 飛脚は江戸\n    時代の飛脚で手紙\n    を運んだ");
    }

    #[test]
    fn no_row_is_too_long_and_nothing_is_lost() {
        let texts = [
            "20:03 ana (to #ops:3): e\u{301}e\u{301}e\u{301}e\u{301} and some  more \u{1f44d} of it, in words of any length",
            "    飛脚 a飛 bb脚 ccc 飛飛飛飛飛飛飛飛飛飛飛飛飛飛飛飛飛飛",
            "supercalifragilisticexpialidocious supercalifragilisticexpialidocious\n\tx\t\ty",
            "                                                             far away",
        ];
        let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        for text in texts {
            for columns in LEAST..90 {
                let rows = wrap(text, columns);
                assert!(rows.lines().all(|row| row.width() <= columns), "{columns}: {rows}");
                assert_eq!(bare(&rows), bare(text));
            }
        }
    }
}
