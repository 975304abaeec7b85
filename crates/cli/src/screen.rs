//! Where the lines of a conversation are typed and shown.

use std::borrow::Cow;

use hikyaku::printable;
use rustyline::Helper;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::Validator;
use tokio::sync::{mpsc, watch};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

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
/// To the line above, of which nothing stays.
const ABOVE: &str = "\u{1b}[A\u{1b}[2K";

/// Where lines are typed and shown.
pub(crate) enum Screen {
    /// A terminal: lines are shown above the one being typed.
    Terminal(Box<dyn rustyline::ExternalPrinter + Send>),
    /// A pipe or file.
    Plain,
}

impl Screen {
    /// The screen, and the lines typed at it.
    pub(crate) fn open(prompt: &str, company: Option<&Company>) -> Result<(Self, mpsc::Receiver<String>)> {
        let (to, typed) = mpsc::channel(TYPED);
        if !output::is_typed() {
            std::thread::spawn(move || {
                for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
                    if to.blocking_send(line).is_err() {
                        return;
                    }
                }
            });
            return Ok((Self::Plain, typed));
        }
        let mut editor =
            rustyline::Editor::<Line, rustyline::history::DefaultHistory>::new().map_err(trouble)?;
        editor.set_helper(Some(Line {
            prompt: prompt.width(),
            typing: company.map(|company| company.typing.clone()),
            notices: company.map(|company| company.notices.clone()),
        }));
        let printer = editor.create_external_printer().map_err(trouble)?;
        let prompt = prompt.to_owned();
        std::thread::spawn(move || {
            // Ctrl-C and Ctrl-D both leave.
            while let Ok(line) = editor.readline(&prompt) {
                // The server's copy of the line is the one that counts; an error here is a full history.
                let _ = editor.add_history_entry(&line);
                if to.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Ok((Self::Terminal(Box::new(printer)), typed))
    }

    /// Whether a line that was typed stays to be seen.
    pub(crate) fn shows_what_is_typed(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Shows one line.
    pub(crate) fn show(&mut self, line: &str) -> Result {
        match self {
            Self::Plain => output::line(line),
            Self::Terminal(printer) => {
                printer.print(format!("{}\n", wrap::for_output(line.to_owned()))).map_err(trouble)
            }
        }
    }

    /// Shows one line, on a terminal in the place of the last one that was shown, if it is asked to.
    pub(crate) fn show_instead(&mut self, line: &str, instead: bool) -> Result {
        let wrapped = wrap::for_output(line.to_owned());
        match self {
            Self::Terminal(printer) if instead && !wrapped.contains('\n') => {
                printer.print(format!("{ABOVE}{wrapped}\n")).map_err(trouble)
            }
            _ => self.show(line),
        }
    }

    /// Draws the line being typed again: who else types has changed.
    pub(crate) fn refresh(&mut self) -> Result {
        match self {
            Self::Plain => Ok(()),
            Self::Terminal(printer) => printer.print(NOTHING.to_owned()).map_err(trouble),
        }
    }
}

fn trouble(error: ReadlineError) -> exit::Trouble {
    exit::io("the terminal", &std::io::Error::other(error))
}

/// The line being typed, with a margin behind it.
struct Line {
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
        let notices = self.notices.as_ref()?;
        // One that is left out is made good by the next key.
        let _ = notices.try_send(if line.is_empty() { Notice::Still } else { Notice::Typing });
        let left = wrap::columns().saturating_sub(self.prompt + line.width() + 1);
        (left >= LEAST_MARGIN).then(|| Margin(" ".repeat(left.min(MARGIN))))
    }
}

impl Highlighter for Line {
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
fn fit(text: &str, columns: usize) -> String {
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
