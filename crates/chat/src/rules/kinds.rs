//! What each kind of event demands: its body, the event it is about, and who may make it. One table.
//! Spec: chapter 4, "The log".

use hikyaku_wire::chat::{Kind, RESERVED_FOR_THE_SERVER};

use crate::limits::{Limits, within};
use crate::refusal::Refusal;

/// The rules of one kind that members may send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demands {
    pub(crate) body: Body,
    pub(crate) about: About,
    pub(crate) by: By,
}

/// What the body of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Text.
    Text,
    /// The text of a topic.
    Topic,
    /// One emoji or short word.
    Word,
    /// Nothing.
    Empty,
    /// Whatever the application likes.
    Opaque,
}

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About {
    /// Nothing in particular: whatever it names is there.
    Anything,
    /// Exactly one event that was not erased, of a kind for which this says yes.
    One(fn(Kind) -> bool),
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Whoever may write in the room.
    Members,
    /// Who made the event it is about.
    Author,
    /// Who made it, and moderators.
    AuthorOrModerators,
    /// Moderators.
    Moderators,
}

/// The rules of a kind; the refusal of one that members do not make, or that this version has no rules for.
//= S4.14
pub(crate) fn demands(kind: Kind) -> Result<Demands, Refusal> {
    let (body, about, by) = match kind {
        Kind::MESSAGE => (Body::Text, About::Anything, By::Members),
        Kind::REPLY => (Body::Text, About::One(|_| true), By::Members),
        Kind::EDIT => (Body::Text, About::One(is_said), By::Author),
        Kind::DELETE => (Body::Empty, About::One(is_deletable), By::AuthorOrModerators),
        Kind::REACTION | Kind::UNREACT => (Body::Word, About::One(is_content), By::Members),
        Kind::PIN | Kind::UNPIN => (Body::Empty, About::One(is_content), By::Moderators),
        Kind::TOPIC => (Body::Topic, About::Anything, By::Moderators),
        Kind(number) if RESERVED_FOR_THE_SERVER.contains(&number) => {
            return Err(Refusal::KindReserved(kind));
        }
        Kind(number) if number > *RESERVED_FOR_THE_SERVER.end() => {
            (Body::Opaque, About::Anything, By::Members)
        }
        _ => return Err(Refusal::KindUnsupported(kind)),
    };
    Ok(Demands { body, about, by })
}

/// What somebody said in words.
fn is_said(kind: Kind) -> bool {
    matches!(kind, Kind::MESSAGE | Kind::REPLY)
}

/// What can be reacted to and kept in view.
fn is_content(kind: Kind) -> bool {
    is_said(kind) || kind == Kind::PARCEL || is_private(kind)
}

/// What can be deleted. An edit goes with what it edits, a reaction is taken back, and what the server made stays.
fn is_deletable(kind: Kind) -> bool {
    is_said(kind) || kind == Kind::TOPIC || is_private(kind)
}

fn is_private(kind: Kind) -> bool {
    kind.0 > *RESERVED_FOR_THE_SERVER.end()
}

impl Body {
    /// Judges a body by its own.
    //= S4.15
    //= S4.18
    pub(crate) fn check(self, kind: Kind, body: &[u8], limits: &Limits) -> Result<(), Refusal> {
        match self {
            Self::Opaque => return Ok(()),
            Self::Empty if !body.is_empty() => return Err(Refusal::Body(kind, "has no body")),
            Self::Empty => return Ok(()),
            Self::Text => {}
            Self::Topic => within("bytes of a topic", body.len(), limits.topic)?,
            Self::Word => within("bytes of a reaction", body.len(), limits.reaction)?,
        }
        let text = std::str::from_utf8(body).map_err(|_| Refusal::Body(kind, "is UTF-8 text"))?;
        if self == Self::Word && (text.is_empty() || text.contains(char::is_control)) {
            return Err(Refusal::Body(kind, "is one emoji or short word"));
        }
        Ok(())
    }
}
