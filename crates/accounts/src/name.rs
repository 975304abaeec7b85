//! Names of users and devices: parsed once, then trusted everywhere.
//!
//! A name is 1–32 letters, digits, `-`, `_` and `.`; it begins with a letter or a digit and does not end with a dot.
//! Letters are those of scripts that cannot be taken for Latin: Latin itself with its accents, kana, kanji and hangul.
//! Nothing invisible, combining or directional gets through. Capitals become small, so `Ada` and `ada` are one name.

use std::fmt;
use std::str::FromStr;

/// The most characters a name may have.
pub const MAX_NAME: usize = 32;

/// Names that would be taken for the server speaking, or for everybody.
const RESERVED: &[&str] = &["all", "everyone", "here", "operator", "server", "system"];

/// A user's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// The name of a device, told apart from the other devices of its user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

/// Why a text is no name. Shows what it quotes with escapes, since a peer may have chosen it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("a name needs at least one character")]
    Empty,
    /// There is too much.
    #[error("a name has at most {MAX_NAME} characters")]
    TooLong,
    /// A character that names do not have.
    #[error("a name has no '{}'; use letters, digits, '-', '_' and '.'", .0.escape_unicode())]
    Character(char),
    /// The first character is no letter or digit, or the last one is a dot.
    #[error("a name begins with a letter or a digit and does not end with a dot")]
    Edge,
    /// The name means something else.
    #[error("the name is reserved")]
    Reserved,
}

impl UserName {
    /// The name as it is kept and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two names must not share on one server: look-alikes are folded together.
    pub fn skeleton(&self) -> String {
        self.0.chars().map(fold).collect()
    }
}

impl DeviceName {
    /// The name as it is kept and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This name with `-number` behind it, shortened where it would be too long.
    pub(crate) fn numbered(&self, number: usize) -> Self {
        let ending = format!("-{number}");
        let kept = MAX_NAME - ending.chars().count().min(MAX_NAME);
        let start: String = self.0.chars().take(kept).collect();
        Self(format!("{start}{ending}"))
    }
}

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = parse(text)?;
        if RESERVED.contains(&name.as_str()) { Err(NameError::Reserved) } else { Ok(Self(name)) }
    }
}

impl FromStr for DeviceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        parse(text).map(Self)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

//= S6.30
fn parse(text: &str) -> Result<String, NameError> {
    let mut name = String::new();
    for (index, given) in text.chars().enumerate() {
        if index == MAX_NAME {
            return Err(NameError::TooLong);
        }
        name.push(permitted(given).ok_or(NameError::Character(given))?);
    }
    let first = name.chars().next().ok_or(NameError::Empty)?;
    if !first.is_alphanumeric() || name.ends_with('.') {
        return Err(NameError::Edge);
    }
    Ok(name)
}

/// The character as names hold it, if they hold it at all.
fn permitted(given: char) -> Option<char> {
    match given {
        'a'..='z' | '0'..='9' | '-' | '_' | '.' => Some(given),
        'A'..='Z' => Some(given.to_ascii_lowercase()),
        'ß'..='ö' | 'ø'..='ÿ' => Some(given),
        'À'..='Ö' | 'Ø'..='Þ' => given.to_lowercase().next(),
        'ぁ'..='ゖ' | 'ァ'..='ヺ' | 'ー' | '々' | '一'..='鿿' | '가'..='힣' => Some(given),
        _ => None,
    }
}

/// Characters that look like another one become that one.
fn fold(character: char) -> char {
    match character {
        '0' => 'o',
        '1' => 'l',
        'へ' => 'ヘ',
        'べ' => 'ベ',
        'ぺ' => 'ペ',
        'り' => 'リ',
        'ー' => '一',
        'ニ' => '二',
        'ハ' => '八',
        'カ' => '力',
        'ロ' => '口',
        'エ' => '工',
        'タ' => '夕',
        'ト' => '卜',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(text: &str) -> Result<String, NameError> {
        text.parse::<UserName>().map(|name| name.to_string())
    }

    #[test]
    fn names_of_several_scripts_are_taken_and_capitals_become_small() {
        for (text, name) in [
            ("Ada", "ada"),
            ("a", "a"),
            ("j.r-r_t", "j.r-r_t"),
            ("José", "josé"),
            ("飛脚ロ", "飛脚ロ"),
            ("7of9", "7of9"),
        ] {
            assert_eq!(user(text).as_deref(), Ok(name));
        }
    }

    #[test]
    fn thirty_two_characters_are_a_name_and_thirty_three_are_not() {
        assert!(user(&"飛".repeat(32)).is_ok());
        assert_eq!(user(&"飛".repeat(33)), Err(NameError::TooLong));
        assert_eq!(user(&"x".repeat(1 << 20)), Err(NameError::TooLong));
    }

    //= S6.30 (test)
    #[test]
    fn invisible_directional_combining_and_confusable_characters_are_refused() {
        // zero width space, right-to-left override, tab, escape, combining acute, Cyrillic а, full-width A, space, slash
        for hidden in
            ['\u{200b}', '\u{202e}', '\t', '\u{1b}', '\u{301}', 'а', 'Ａ', ' ', '/', '@', '#', '\u{ad}']
        {
            assert_eq!(user(&format!("a{hidden}b")), Err(NameError::Character(hidden)));
        }
    }

    #[test]
    fn a_name_never_looks_like_an_option_a_hidden_file_or_the_server() {
        for text in ["-rf", ".bashrc", "_x", "x."] {
            assert_eq!(user(text), Err(NameError::Edge), "{text}");
        }
        assert_eq!(user(""), Err(NameError::Empty));
        assert_eq!(user("Server"), Err(NameError::Reserved));
        assert!("server".parse::<DeviceName>().is_ok());
    }

    #[test]
    fn look_alikes_share_a_skeleton() {
        for (left, right) in [("b0b", "bob"), ("al", "a1"), ("ニ一", "二ー"), ("へいわ", "ヘいわ")]
        {
            let [left, right] = [left, right].map(|text| text.parse::<UserName>().unwrap().skeleton());
            assert_eq!(left, right);
        }
    }

    #[test]
    fn a_refusal_never_carries_the_character_itself() {
        let sentence = user("a\u{1b}]0;x").unwrap_err().to_string();
        assert!(sentence.contains("\\u{1b}") && !sentence.contains('\u{1b}'), "{sentence}");
    }

    proptest! {
        #[test]
        fn every_name_reads_back_as_itself(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<UserName>() {
                prop_assert_eq!(name.as_str().parse::<UserName>(), Ok(name.clone()));
                prop_assert!(name.as_str().chars().count() <= MAX_NAME);
            }
        }

        #[test]
        fn a_numbered_device_name_is_a_device_name(text in "[a-z飛][a-z飛-]{0,31}", number in 2usize..10_000) {
            let numbered = text.parse::<DeviceName>().unwrap().numbered(number);
            prop_assert_eq!(numbered.as_str().parse::<DeviceName>(), Ok(numbered.clone()));
        }
    }
}
