//! Where the lines of `tail` go: one after the other, and on a terminal cards are written again in their places.

use hikyaku_wire::files::receipts::Hands;

use crate::board::Board;
use crate::cards::{Cards, Meaning};
use crate::event::Shown;
use crate::exit::Result;
use crate::{output, wrap};

/// Standard output, with what stands on it.
pub(crate) struct Sheet<'a> {
    cards: Cards<'a>,
    /// What stands on the terminal, where it is one.
    board: Option<Board>,
    /// What had been typed at the terminal when it was last looked at: its echo moves what stands there.
    typed: u64,
}

impl<'a> Sheet<'a> {
    /// Standard output, on which nothing stands yet. Cards are written again if somebody `follows`.
    pub(crate) fn new(follows: bool) -> Self {
        let board = (follows && output::is_shown()).then(|| {
            let (columns, rows) = wrap::size();
            Board::new(columns, rows)
        });
        Self { cards: Cards::default(), board, typed: output::typed_ahead() }
    }

    /// Whether cards are written again.
    pub(crate) fn is_terminal(&self) -> bool {
        self.board.is_some()
    }

    /// Shows an event.
    pub(crate) fn show(&mut self, shown: &Shown<'a>) -> Result {
        let meaning = self.cards.take(shown);
        let Some(board) = &mut self.board else { return output::line(wrap::for_output(shown.line())) };
        let written = match meaning {
            Meaning::Changes(seq) => return self.again(seq),
            Meaning::Card => {
                let card = self.cards.get(shown.seq).map_or_else(|| shown.line(), Shown::drawn_line);
                board.card(shown.seq, &card)
            }
            Meaning::Other => board.line(&shown.line()),
        };
        output::raw(&written)
    }

    /// Takes in what the server says of a parcel; only on terminals.
    pub(crate) fn hear(&mut self, hands: Hands) -> Result {
        match self.cards.hear(hands) {
            Ok(_) if !wrap::is_narrow() => self.again(hands.seq),
            // Below, each time, it would be all that is seen.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Something was written that is not counted here.
    pub(crate) fn disturbed(&mut self) {
        if let Some(board) = &mut self.board {
            board.forget();
        }
    }

    /// Writes a card again: in its place, or below where that is out of reach.
    fn again(&mut self, seq: u64) -> Result {
        let (Some(board), Some(card)) = (&mut self.board, self.cards.get(seq)) else { return Ok(()) };
        let (columns, rows) = wrap::size();
        board.sized(columns, rows);
        let typed = output::typed_ahead();
        if std::mem::replace(&mut self.typed, typed) != typed {
            board.forget();
        }
        let text = card.drawn_line();
        let written = match board.again(seq, &text, 1) {
            Some(written) => written,
            None => board.card(seq, &text),
        };
        output::raw(&written)
    }
}
