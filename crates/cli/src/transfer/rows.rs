//! The rows of a terminal that bars are drawn on, for `indicatif`.
//!
//! It fills each row to the right edge, so that what anybody writes next stands below. That is also where a terminal would
//! write the `^C` of a person who ends the transfer, and then the rows are not where they are cleared. So nothing is filled
//! here: the cursor stays behind the last text, and a new row begins when there is more to write.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

use crate::wrap::size_of;

/// The rows. Clones share them.
#[derive(Clone)]
pub(super) struct Rows(Arc<Mutex<State>>);

struct State {
    to: Box<dyn Write + Send>,
    /// Columns and rows.
    size: fn() -> (usize, usize),
    waiting: Vec<u8>,
    next: Next,
}

/// What is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A text, in the row where the cursor is.
    Text,
    /// What fills the row.
    Filling,
    /// A text, in the row below.
    Below,
}

impl Rows {
    /// Those of standard error.
    pub(super) fn of_stderr() -> Self {
        Self::new(Box::new(io::stderr()), || size_of(io::stderr()))
    }

    fn new(to: Box<dyn Write + Send>, size: fn() -> (usize, usize)) -> Self {
        Self(Arc::new(Mutex::new(State { to, size, waiting: Vec::new(), next: Next::Text })))
    }

    /// Nothing more comes: what others write begins a row of its own.
    pub(super) fn end(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.next != Next::Text {
            state.waiting.push(b'\n');
            state.next = Next::Text;
        }
        state.flush()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the cursor, `n` times if that is any.
    fn go(&self, n: usize, way: char) -> io::Result<()> {
        let mut state = self.state();
        if n > 0 {
            state.next = Next::Text;
            write!(state.waiting, "\x1b[{n}{way}")?;
        }
        Ok(())
    }
}

impl State {
    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.waiting)?;
        self.waiting.clear();
        self.to.flush()
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rows").field(&self.state().next).finish()
    }
}

impl TermLike for Rows {
    fn width(&self) -> u16 {
        u16::try_from((self.state().size)().0).unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        u16::try_from((self.state().size)().1).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        let mut state = self.state();
        state.waiting.extend_from_slice(text.as_bytes());
        state.waiting.push(b'\n');
        Ok(())
    }

    /// A text, then what fills its row, in turn.
    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.next == Next::Filling {
            state.next = Next::Below;
            return Ok(());
        }
        if state.next == Next::Below {
            state.waiting.push(b'\n');
        }
        state.waiting.extend_from_slice(text.as_bytes());
        state.next = Next::Filling;
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        let mut state = self.state();
        state.next = Next::Text;
        state.waiting.extend_from_slice(b"\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.state().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal of 10 rows and 40 columns, as it is written to.
    #[derive(Clone)]
    struct Screen(Arc<Mutex<vt100::Parser>>);

    impl Screen {
        fn new() -> Self {
            let size = |count| std::num::NonZero::new(count).unwrap();
            Self(Arc::new(Mutex::new(vt100::Parser::new(size(10), size(40), 0))))
        }

        fn rows(&self) -> Rows {
            Rows::new(Box::new(self.clone()), || (40, 10))
        }

        fn shows(&self) -> String {
            self.0.lock().unwrap().screen().contents()
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // As a terminal makes lines.
            let text = String::from_utf8_lossy(bytes).replace('\n', "\r\n");
            self.0.lock().unwrap().process(text.as_bytes());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_stays_of_the_bars_when_the_transfer_is_interrupted() {
        for echo in ["^C", ""] {
            let (mut screen, bars) = (Screen::new(), super::super::show::Bars::on);
            screen.write_all(b"$ hikyaku get '#lab:3'\n").unwrap();
            let bars = bars(screen.rows());
            bars.draw(None, "dataset  connecting".to_owned(), None);
            bars.draw(Some("dataset/one  4 B".to_owned()), "x".repeat(100), Some(0.5));
            bars.say("a note that stays, and is as long as it takes to fill more than a row");
            bars.draw(Some("dataset/two  5 B".to_owned()), "dataset  60 %".to_owned(), Some(0.6));
            let (above, shown) = ("$ hikyaku get '#lab:3'", screen.shows());
            let note = "a note that stays, and is as long as it takes to fill more than a row";
            assert!(shown.starts_with(&format!("{above}\n{note}\ndataset/two  5 B\n━━━")), "{shown}");
            assert!(shown.ends_with("dataset  60 %") && shown.lines().count() == 4, "{shown}");
            screen.write_all(echo.as_bytes()).unwrap();
            bars.clear();
            screen.write_all(b"interrupted\n").unwrap();
            assert_eq!(screen.shows(), format!("{above}\n{note}\ninterrupted"));
        }
    }

    #[test]
    fn what_follows_a_note_without_bars_stands_below_it() {
        let mut screen = Screen::new();
        let bars = super::super::show::Bars::on(screen.rows());
        bars.say("a note");
        bars.say("another");
        bars.clear();
        screen.write_all(b"interrupted\n").unwrap();
        assert_eq!(screen.shows(), "a note\nanother\ninterrupted");
    }
}
