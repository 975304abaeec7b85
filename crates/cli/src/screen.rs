//! Where the lines of a conversation are typed and shown.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku::printable;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ConditionalEventHandler, Event, EventContext, EventHandler, Helper, KeyEvent, RepeatCount,
};
use tokio::sync::{mpsc, watch};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::board::Board;
use crate::company::{Company, Notice};
use crate::exit::{self, Result};
use crate::{output, wrap};

/// Lines typed that wait to be sent; then typing waits.
const TYPED: usize = 64;
/// Columns behind the line being typed in which it stands who else types; with fewer than the least, nothing does.
const MARGIN: usize = 32;
const LEAST_MARGIN: usize = 14;
/// To the line above and back: nothing is written, and the editor draws its line again.
const NOTHING: &str = "\u{1b}[A\n";

/// Where lines are typed and shown.
pub(crate) enum Screen {
    /// A terminal: lines are shown above the one being typed.
    Terminal(Terminal),
    /// A pipe or file.
    Plain,
}

/// A terminal on which a line is being typed.
///
/// Everything is written by the editor, when it draws its own line: only then is it known which row that is, so that a
/// card is written in its place and nowhere else.
pub(crate) struct Terminal {
    printer: Box<dyn rustyline::ExternalPrinter + Send>,
    above: Above,
}

/// What stands above the line being typed, and what is to be written there.
#[derive(Clone)]
struct Above(Arc<Mutex<Paper>>);

struct Paper {
    board: Board,
    /// What waits to be written. The editor takes a wake-up for each, and whoever shows more waits for that.
    waiting: VecDeque<Written>,
    /// Rows that the prompt and the line being typed take.
    typed: usize,
}

/// Something to be written.
enum Written {
    Line(String),
    Card(u64, String),
    /// A card once more: in its place, or as a new one.
    Again(u64, String),
}

impl Screen {
    /// The screen, below what stands on `board`, and the lines typed at it.
    pub(crate) fn open(
        prompt: &str,
        company: Option<&Company>,
        board: Board,
    ) -> Result<(Self, mpsc::Receiver<String>)> {
        let (to, typed) = mpsc::channel(TYPED);
        if !output::is_typed() || !output::is_shown() || is_simple() {
            std::thread::spawn(move || {
                for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
                    if to.blocking_send(line).is_err() {
                        return;
                    }
                }
            });
            return Ok((Self::Plain, typed));
        }
        let above = Above(Arc::new(Mutex::new(Paper { board, waiting: VecDeque::new(), typed: 1 })));
        // Forced: with every drawing of the line, what stands above it is asked for.
        let config = rustyline::Config::builder().color_mode(rustyline::ColorMode::Forced).build();
        let mut editor = rustyline::Editor::<Line, rustyline::history::DefaultHistory>::with_config(config)
            .map_err(trouble)?;
        editor.set_helper(Some(Line {
            prompt: prompt.width(),
            typing: company.map(|company| company.typing.clone()),
            notices: company.map(|company| company.notices.clone()),
            above: above.clone(),
        }));
        for key in ['L', 'Z'] {
            // The screen is emptied, or somebody else writes on it for a while.
            let moved = EventHandler::Conditional(Box::new(above.clone()));
            editor.bind_sequence(KeyEvent::ctrl(key), moved);
        }
        let printer = editor.create_external_printer().map_err(trouble)?;
        let (prompt, paper) = (prompt.to_owned(), above.clone());
        std::thread::spawn(move || {
            // Ctrl-C and Ctrl-D both leave.
            while let Ok(line) = editor.readline(&prompt) {
                paper.lock().board.skip(rows(prompt.width(), &line, wrap::columns()));
                // The server's copy of the line is the one that counts; an error here is a full history.
                let _ = editor.add_history_entry(&line);
                if to.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Ok((Self::Terminal(Terminal { printer: Box::new(printer), above }), typed))
    }

    /// Whether a line that was typed stays to be seen, and cards are written again.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Shows one line.
    pub(crate) fn show(&mut self, line: &str) -> Result {
        match self {
            Self::Plain => output::line(line),
            Self::Terminal(terminal) => terminal.write(Written::Line(line.to_owned())),
        }
    }

    /// Shows the card of a parcel, on a terminal so that it can be written again.
    pub(crate) fn show_card(&mut self, seq: u64, line: String) -> Result {
        match self {
            Self::Plain => output::line(line),
            Self::Terminal(terminal) => terminal.write(Written::Card(seq, line)),
        }
    }

    /// Writes a card again: in its place, or below where that is out of reach. Only on terminals.
    pub(crate) fn show_again(&mut self, seq: u64, line: String) -> Result {
        match self {
            Self::Plain => Ok(()),
            Self::Terminal(terminal) => terminal.write(Written::Again(seq, line)),
        }
    }

    /// Something that a person should know and a program need not.
    pub(crate) fn note(&mut self, line: &str) -> Result {
        match self {
            Self::Plain => {
                output::note(line);
                Ok(())
            }
            Self::Terminal(terminal) => terminal.write(Written::Line(line.to_owned())),
        }
    }

    /// Draws the line being typed again: who else types has changed.
    pub(crate) fn refresh(&mut self) -> Result {
        match self {
            Self::Plain => Ok(()),
            Self::Terminal(terminal) => terminal.wake(),
        }
    }
}

impl Terminal {
    fn write(&mut self, written: Written) -> Result {
        self.above.lock().waiting.push_back(written);
        self.wake()
    }

    fn wake(&mut self) -> Result {
        self.printer.print(NOTHING.to_owned()).map_err(trouble)
    }
}

impl Above {
    fn lock(&self) -> MutexGuard<'_, Paper> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConditionalEventHandler for Above {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.lock().board.forget();
        // As the key is used to.
        None
    }
}

impl Paper {
    /// What waits, written from the beginning of the prompt's row on, which is where it ends too.
    fn draw(&mut self, (columns, rows): (usize, usize)) -> String {
        self.board.sized(columns, rows);
        let mut drawn = String::new();
        for written in std::mem::take(&mut self.waiting) {
            drawn += &match written {
                Written::Line(text) => self.board.line(&text),
                Written::Card(seq, text) => self.board.card(seq, &text),
                Written::Again(seq, text) => match self.board.again(seq, &text, self.typed) {
                    Some(again) => again,
                    None => self.board.card(seq, &text),
                },
            };
        }
        drawn
    }
}

/// The rows that a line takes behind its prompt, with the one that the cursor goes to where it fills the last.
fn rows(prompt: usize, line: &str, columns: usize) -> usize {
    let (mut rows, mut column) = (1, prompt);
    for character in line.chars() {
        let wide = character.width().unwrap_or(0);
        if column + wide > columns {
            (rows, column) = (rows + 1, 0);
        }
        column += wide;
    }
    if column >= columns { rows + 1 } else { rows }
}

/// Whether the terminal says that it can do nothing but write on.
fn is_simple() -> bool {
    std::env::var("TERM").is_ok_and(|term| matches!(term.as_str(), "dumb" | "cons25" | "emacs"))
}

fn trouble(error: ReadlineError) -> exit::Trouble {
    exit::io("the terminal", &std::io::Error::other(error))
}

/// The line being typed, with a margin behind it.
struct Line {
    above: Above,
    /// Columns of the prompt.
    prompt: usize,
    typing: Option<watch::Receiver<Vec<String>>>,
    notices: Option<mpsc::Sender<Notice>>,
}

impl Helper for Line {}

impl Validator for Line {}

impl Completer for Line {
    type Candidate = String;
}

/// So many columns, which are filled when they are drawn: the editor knows of their width alone.
struct Margin(String);

impl Hint for Margin {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Line {
    type Hint = Margin;

    /// Called whenever the line has changed.
    fn hint(&self, line: &str, _: usize, _: &rustyline::Context<'_>) -> Option<Margin> {
        self.above.lock().typed = rows(self.prompt, line, wrap::columns());
        let notices = self.notices.as_ref()?;
        // One that is left out is made good by the next key.
        let _ = notices.try_send(if line.is_empty() { Notice::Still } else { Notice::Typing });
        let left = wrap::columns().saturating_sub(self.prompt + line.width() + 1);
        (left >= LEAST_MARGIN).then(|| Margin(" ".repeat(left.min(MARGIN))))
    }
}

impl Highlighter for Line {
    /// Called when the line is drawn, with the cursor where the prompt will begin and nothing behind it.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        let drawn = self.above.lock().draw(wrap::size());
        if drawn.is_empty() { Cow::Borrowed(prompt) } else { Cow::Owned(drawn + prompt) }
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        let typing = self.typing.as_ref().map(|typing| typists(&typing.borrow())).unwrap_or_default();
        if typing.is_empty() {
            return Cow::Borrowed(hint);
        }
        Cow::Owned(format!("\u{1b}[2m{}\u{1b}[0m", fit(&format!("  {typing}"), hint.len())))
    }
}

/// `ana is typing`, `ana and ben are typing`, `5 people are typing`; empty if nobody is.
fn typists(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("{} is typing", printable(one)),
        [one, other] => format!("{} and {} are typing", printable(one), printable(other)),
        more => format!("{} people are typing", more.len()),
    }
}

/// A text in exactly so many columns: cut with a sign that it was, or filled up.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return format!("{text}{}", " ".repeat(columns - text.width()));
    }
    let (mut fitted, mut used) = (String::new(), 0);
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        fitted.push(character);
    }
    let filling = " ".repeat(columns.saturating_sub(used + 1));
    format!("{fitted}\u{2026}{filling}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_types_is_named_as_far_as_two() {
        let names = |names: &[&str]| typists(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names(&[]), "");
        assert_eq!(names(&["ana"]), "ana is typing");
        assert_eq!(names(&["ana", "b\u{1b}[2Jn"]), "ana and b\\u{1b}[2Jn are typing");
        assert_eq!(names(&["ana", "ben", "cho"]), "3 people are typing");
    }

    #[test]
    fn a_line_takes_the_rows_that_the_editor_gives_it() {
        assert_eq!(rows(5, "", 20), 1);
        assert_eq!(rows(5, "fourteen chars", 20), 1);
        assert_eq!(rows(5, "fifteen letters", 20), 2, "the cursor is in the next row");
        assert_eq!(rows(5, "sixteen letters!", 20), 2);
        assert_eq!(rows(4, "飛脚飛脚飛脚飛脚", 19), 2, "a wide one is not halved");
    }

    #[test]
    fn what_stands_in_the_margin_takes_its_columns_exactly() {
        let texts = [
            "",
            "ana is typing",
            "飛脚飛脚飛脚飛脚 is typing",
            "e\u{301}e\u{301}e\u{301} is typing and more of it",
        ];
        for text in texts {
            for columns in 3..40 {
                assert_eq!(fit(text, columns).width(), columns, "{text} in {columns}");
            }
        }
        assert_eq!(fit("飛脚飛脚", 4), "飛\u{2026} ");
    }
}
