//! What stands on a terminal above the row that is written next: where the cards of parcels are, so that they can be
//! written again in their places. Pure: what is to be written is given back as text.
//!
//! A card that is out of reach (scrolled away, moved by something that this program did not write, or on a terminal so narrow
//! that rows are the terminal's) is not written to: whoever asks shows it again below. So nothing but cards is ever written over.

use std::fmt::Write as _;

use crate::wrap;

/// Cards that are remembered; of more, the oldest are out of reach.
const MOST: usize = 64;

/// The rows above the one that is written next.
#[derive(Debug)]
pub(crate) struct Board {
    columns: usize,
    rows: usize,
    /// The number of the row that is written next.
    at: u64,
    cards: Vec<Card>,
}

/// Where a card is.
#[derive(Debug)]
struct Card {
    seq: u64,
    /// Its first row.
    at: u64,
    rows: Vec<String>,
}

impl Board {
    /// An empty one, on a terminal of this size.
    pub(crate) fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows, at: 0, cards: Vec::new() }
    }

    /// The terminal has this size now. With other columns, its rows are where nobody knows.
    pub(crate) fn sized(&mut self, columns: usize, rows: usize) {
        if columns != self.columns {
            self.forget();
        }
        (self.columns, self.rows) = (columns, rows);
    }

    /// Something else has been written, or moved what was: no card is in reach.
    pub(crate) fn forget(&mut self) {
        self.cards.clear();
    }

    /// Somebody else has written so many rows.
    pub(crate) fn skip(&mut self, rows: usize) {
        self.at += rows as u64;
    }

    /// A line, as it is to be written.
    pub(crate) fn line(&mut self, text: &str) -> String {
        let rows = wrap::wrap(text, self.columns);
        self.skip(rows.split('\n').count());
        rows + "\n"
    }

    /// The card of a parcel, as a line that can be written again.
    pub(crate) fn card(&mut self, seq: u64, text: &str) -> String {
        let at = self.at;
        let written = self.line(text);
        let rows = written.trim_end_matches('\n').split('\n').map(str::to_owned).collect();
        self.cards.retain(|card| card.seq != seq);
        if self.columns < wrap::LEAST {
            // The terminal breaks the rows, and nobody knows how many they are.
            return written;
        }
        if self.cards.len() == MOST {
            self.cards.remove(0);
        }
        self.cards.push(Card { seq, at, rows });
        written
    }

    /// The card of a parcel in its place, from the beginning of the row that is written next and back there, with `below`
    /// rows in use from that one on. Nothing if it is out of reach, or has grown out of its rows.
    pub(crate) fn again(&mut self, seq: u64, text: &str, below: usize) -> Option<String> {
        let card = self.cards.iter_mut().find(|card| card.seq == seq)?;
        let up = usize::try_from(self.at - card.at).ok()?;
        let wrapped = wrap::wrap(text, self.columns);
        let mut rows: Vec<String> = wrapped.split('\n').map(str::to_owned).collect();
        if rows.len() > card.rows.len() || up + below.max(1) > self.rows {
            return None;
        }
        rows.resize(card.rows.len(), String::new());
        if rows == card.rows {
            return Some(String::new());
        }
        let mut written = format!("\u{1b}[{up}A");
        for row in &rows {
            // Each row is emptied before it is written; the cursor stays above the rows that belong to others.
            let _ = write!(written, "\r\u{1b}[2K{row}\r\u{1b}[B");
        }
        let down = up - rows.len();
        if down > 0 {
            let _ = write!(written, "\u{1b}[{down}B");
        }
        card.rows = rows;
        Some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal shows that was given all this.
    fn picture(columns: u16, rows: u16, written: &str) -> String {
        let size = |count| std::num::NonZero::new(count).unwrap();
        let mut terminal = vt100::Parser::new(size(rows), size(columns), 0);
        terminal.process(written.replace('\n', "\r\n").as_bytes());
        terminal.screen().contents()
    }

    #[test]
    fn a_card_changes_in_its_place_and_nothing_else_does() {
        let mut board = Board::new(30, 8);
        let mut written = board.line("20:03 ana: hello");
        written += &board.card(2, "20:04 ana sends a (2 B), 0 %");
        written += &board.line("20:05 ben: a line that is longer than the terminal is wide");
        written += &board.card(4, "20:06 ben sends b (9 B), 10 %");
        written += &board.again(2, "20:04 ana sends a (2 B), here", 1).unwrap();
        written += &board.again(4, "20:06 ben sends b (9 B), 90 %", 1).unwrap();
        written += &board.line("20:07 ana: bye");
        let shown = "20:03 ana: hello\n20:04 ana sends a (2 B), here\n20:05 ben: a line that is\n    longer than the \
                     terminal\n    is wide\n20:06 ben sends b (9 B), 90 %\n20:07 ana: bye";
        assert_eq!(picture(30, 8, &written), shown);
    }

    #[test]
    fn a_card_of_two_rows_may_become_shorter_and_never_longer() {
        let mut board = Board::new(20, 8);
        let mut written = board.card(1, "ana sends something (2 B), 0 %");
        written += &board.line("below");
        written += &board.again(1, "ana sends it", 1).unwrap();
        assert_eq!(picture(20, 8, &written), "ana sends it\n\nbelow");
        assert_eq!(board.again(1, "ana sends something that takes three rows at least", 1), None);
        assert_eq!(board.again(1, "ana sends it", 1).unwrap(), "", "what is there is not written again");
    }

    #[test]
    fn on_a_terminal_that_is_too_narrow_for_rows_nothing_is_written_over() {
        let mut board = Board::new(wrap::LEAST - 1, 8);
        let mut written = board.line("20:03 ana: a line of two rows");
        written += &board.card(1, "20:04 ana sends something (2 B)");
        assert_eq!(board.again(1, "20:04 ana sends something, here", 1), None);
        board.sized(wrap::LEAST, 8);
        written += &board.card(2, "20:05 card");
        board.sized(wrap::LEAST - 1, 8);
        assert_eq!(board.again(2, "20:05 here", 1), None);
        let shown = "20:03 ana: a line of two rows\n20:04 ana sends something (2 B)\n20:05 card";
        assert_eq!(picture(19, 8, &written), shown);
    }

    #[test]
    fn what_is_out_of_reach_is_not_written_to() {
        let mut board = Board::new(20, 4);
        board.card(1, "card");
        board.line("1");
        board.line("2");
        assert!(board.again(1, "changed", 1).is_some(), "the highest row of the terminal");
        assert_eq!(
            board.again(1, "again", 2),
            None,
            "a second row in use below: it is the one above the highest"
        );
        board.line("3");
        assert_eq!(board.again(1, "again", 1), None);
        board.card(2, "card");
        board.sized(20, 5);
        assert!(board.again(2, "changed", 1).is_some());
        board.sized(21, 5);
        assert_eq!(board.again(2, "again", 1), None, "with other columns, rows are elsewhere");
        board.card(3, "card");
        board.forget();
        assert_eq!(board.again(3, "again", 1), None);
    }
}
