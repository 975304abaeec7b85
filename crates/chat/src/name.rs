//! Names of rooms. A [`RoomName`] is always in canonical form: what was checked once is not checked again.
//!
//! Spec: chapter 4, "Names". Only letters, digits, `-`, `_` and `.` get in, so controls, bidirectional and
//! zero-width characters never reach a terminal through a room's name.

use std::fmt;
use std::str::FromStr;

/// The longest name, in characters.
pub(crate) const MAX_CHARS: usize = 64;

/// A room's name in canonical form: lower case, without the `#` people write before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(String);

/// Why a text is no room name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing there.
    #[error("a room name cannot be empty")]
    Empty,
    /// Too long.
    #[error("a room name has at most {MAX_CHARS} characters, this one has {0}")]
    Long(usize),
    /// A character that names do not have. It is shown escaped.
    #[error("a room name has letters, digits, '-', '_' and '.', not '{}'", .0.escape_unicode())]
    Character(char),
    /// Begins with punctuation.
    #[error("a room name begins with a letter or a digit, not '{0}'")]
    Start(char),
}

impl RoomName {
    /// Reads a name as a person or a peer gives it: one leading `#` is dropped, upper case becomes lower case.
    //= S4.1
    //= S4.2
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_prefix('#').unwrap_or(text);
        let name: String = text.chars().take(MAX_CHARS + 1).flat_map(char::to_lowercase).collect();
        if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(bad));
        }
        match name.chars().next() {
            None => return Err(NameError::Empty),
            Some(first) if !first.is_alphanumeric() => return Err(NameError::Start(first)),
            Some(_) => {}
        }
        match text.chars().count().max(name.chars().count()) {
            length if length > MAX_CHARS => Err(NameError::Long(length)),
            _ => Ok(Self(name)),
        }
    }

    /// Reads the name of a room, or of somebody (`@ben`), or of two people's direct room (`@ana+ben`).
    pub fn parse_any(text: &str) -> Result<Self, NameError> {
        let Some(people) = text.strip_prefix('@') else { return Self::parse(text) };
        match people.split_once('+') {
            // A leading `#` belongs to rooms alone.
            _ if people.contains('#') => Err(NameError::Character('#')),
            Some((one, other)) => Ok(Self::direct(Self::parse(one)?.as_str(), Self::parse(other)?.as_str())),
            None => Ok(Self(format!("@{}", Self::parse(people)?.0))),
        }
    }

    /// The name of the direct room of two users, the same whoever of them asks.
    //= S4.6
    pub fn direct(one: &str, other: &str) -> Self {
        let (one, other) = if one <= other { (one, other) } else { (other, one) };
        Self(format!("@{one}+{other}"))
    }

    /// Whether this names people.
    pub fn is_direct(&self) -> bool {
        self.0.starts_with('@')
    }

    /// The one person who is named.
    pub fn person(&self) -> Option<&str> {
        self.0.strip_prefix('@').filter(|people| !people.contains('+'))
    }

    /// The name that a user sees: that of a direct room is the other's.
    pub fn seen_by(&self, user: &str) -> String {
        let people = self.0.strip_prefix('@').and_then(|people| people.split_once('+'));
        match people {
            Some((one, other)) if one == user => format!("@{other}"),
            Some((one, other)) if other == user => format!("@{one}"),
            _ => self.0.clone(),
        }
    }

    /// The name without `#`; that of people with `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Letters and digits of every script, but not those that are invisible or are parts of a composed character:
/// one name has one spelling.
fn allowed(c: char) -> bool {
    let invisible = matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{17b4}' | '\u{17b5}');
    let part = matches!(c, '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}');
    matches!(c, '-' | '_' | '.') || (c.is_alphanumeric() && !invisible && !part)
}

impl FromStr for RoomName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// As people write it: `#ops`, `@ben`.
impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_direct() { f.write_str(&self.0) } else { write!(f, "#{}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, NameError> {
        RoomName::parse(text).map(|name| name.as_str().to_owned())
    }

    //= S4.1 (test)
    #[test]
    fn a_name_is_one_to_sixty_four_letters_digits_and_marks() {
        for good in ["ops", "a", "7", "team-1", "v1.2_b", "部屋", "здравствуй", "한국어", "éclair"]
        {
            assert_eq!(parse(good), Ok(good.to_owned()));
        }
        assert_eq!(parse(&"é".repeat(MAX_CHARS)), Ok("é".repeat(MAX_CHARS)));
        assert_eq!(parse(&"é".repeat(MAX_CHARS + 1)), Err(NameError::Long(MAX_CHARS + 1)));
        assert_eq!(parse(""), Err(NameError::Empty));
        assert_eq!(parse("#"), Err(NameError::Empty));
        assert_eq!(parse(".."), Err(NameError::Start('.')));
        assert_eq!(parse("-rf"), Err(NameError::Start('-')));
        for bad in
            [' ', '/', ':', '#', '@', '\n', '\x1b', '\u{7f}', '\u{9b}', '\u{202e}', '\u{200b}', '\u{2066}']
        {
            assert_eq!(parse(&format!("a{bad}b")), Err(NameError::Character(bad)));
        }
        for invisible in ['\u{3164}', '\u{115f}', '\u{ffa0}', '\u{301}', '\u{e0041}'] {
            assert!(parse(&format!("a{invisible}")).is_err(), "{invisible:?}");
        }
    }

    //= S4.2 (test)
    #[test]
    fn a_hash_and_upper_case_make_no_other_name() {
        assert_eq!(parse("#Ops"), parse("ops"));
        assert_eq!(RoomName::parse("OPS").unwrap().to_string(), "#ops");
    }

    //= S4.6 (test)
    #[test]
    fn two_people_have_one_direct_room_and_each_sees_the_other_in_its_name() {
        let room = RoomName::parse_any("@ben+ana").unwrap();
        assert_eq!((room.as_str(), &room), ("@ana+ben", &RoomName::direct("ana", "ben")));
        assert_eq!((room.seen_by("ana"), room.seen_by("ben")), ("@ben".into(), "@ana".into()));
        assert_eq!((room.seen_by("cho"), room.person()), ("@ana+ben".into(), None));
        let ben = RoomName::parse_any("@Ben").unwrap();
        assert_eq!((ben.person(), ben.to_string(), ben.is_direct()), (Some("ben"), "@ben".into(), true));
        assert_eq!(RoomName::parse_any("#ops").unwrap().to_string(), "#ops");
        for wrong in ["@", "@+", "@a+", "@+a", "@a+b+c", "@a b", "@#a", "@a/b", "@a+#b", "@@a"] {
            assert!(RoomName::parse_any(wrong).is_err(), "{wrong}");
        }
        assert!(RoomName::parse("@ana+ben").is_err(), "nobody makes a room of such a name");
    }

    proptest! {
        #[test]
        fn a_canonical_name_parses_to_itself(text in "\\PC{0,70}") {
            if let Ok(name) = RoomName::parse(&text) {
                prop_assert_eq!(RoomName::parse(name.as_str()), Ok(name.clone()));
                prop_assert!(name.as_str().chars().count() <= MAX_CHARS);
                prop_assert!(!name.as_str().chars().any(char::is_control));
            }
        }
    }
}
