//! The names of fields, read from the specification's CDDL, which is part of the program.
//!
//! It reads the subset of RFC 8610 that `spec/hikyaku.cddl` is written in, which is ours and not a peer's; a test sees that
//! all of it was understood.

use std::collections::HashMap;
use std::sync::OnceLock;

const TEXT: &str = include_str!("../../../spec/hikyaku.cddl");
/// References are followed so far.
const DEPTH: usize = 8;

/// What an item may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Map(Vec<Field>),
    /// So many items, each of its own type.
    Array(Vec<Type>),
    /// Any number of items of one type.
    Repeat(Box<Type>),
    Choice(Vec<Type>),
    Name(&'static str),
    Literal(u64),
    Other,
}

/// An entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) key: u64,
    pub(crate) ty: Type,
    pub(crate) label: String,
}

/// The rule of this name.
pub(crate) fn rule(name: &str) -> Option<&'static Type> {
    rules().get(name)
}

/// The names of all rules, in alphabetical order.
pub fn rule_names() -> Vec<&'static str> {
    let mut names: Vec<_> = rules().keys().copied().collect();
    names.sort_unstable();
    names
}

impl Type {
    /// What a name stands for, in the end.
    pub(crate) fn resolved(&'static self) -> &'static Type {
        let mut ty = self;
        for _ in 0..DEPTH {
            match ty {
                Type::Name(name) => match rule(name) {
                    Some(next) => ty = next,
                    None => break,
                },
                _ => break,
            }
        }
        ty
    }
}

fn rules() -> &'static HashMap<&'static str, Type> {
    static RULES: OnceLock<HashMap<&'static str, Type>> = OnceLock::new();
    RULES.get_or_init(|| {
        let mut parser = Parser { tokens: tokens(TEXT), at: 0 };
        let mut rules = HashMap::new();
        while let Some((name, ty)) = parser.rule() {
            rules.insert(name, ty);
        }
        rules
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Word(&'static str),
    Number(u64),
    Mark(char),
    Comment(&'static str),
}

fn tokens(text: &'static str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = |part_of: fn(char) -> bool| rest.find(|c| !part_of(c)).unwrap_or(rest.len());
        let length = match first {
            ';' => {
                let end = rest.find('\n').unwrap_or(rest.len());
                tokens.push(Token::Comment(rest.get(1..end).unwrap_or_default().trim()));
                end
            }
            '0'..='9' => {
                let end = end(|c| c.is_ascii_digit());
                tokens.push(Token::Number(rest.get(..end).and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)));
                end
            }
            'a'..='z' | 'A'..='Z' => {
                let end = end(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
                tokens.push(Token::Word(rest.get(..end).unwrap_or_default()));
                end
            }
            mark => {
                if !mark.is_whitespace() {
                    tokens.push(Token::Mark(mark));
                }
                mark.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    /// `name = type`
    fn rule(&mut self) -> Option<(&'static str, Type)> {
        loop {
            match self.next()? {
                Token::Word(name) if self.takes('=') => return Some((name, self.ty())),
                _ => {}
            }
        }
    }

    fn ty(&mut self) -> Type {
        let mut choice = vec![self.single()];
        while self.takes('/') {
            choice.push(self.single());
        }
        if choice.len() > 1 { Type::Choice(choice) } else { choice.pop().unwrap_or(Type::Other) }
    }

    fn single(&mut self) -> Type {
        self.skip_comments();
        let ty = match self.next() {
            Some(Token::Mark('{')) => self.map(),
            Some(Token::Mark('[')) => self.array(),
            Some(Token::Mark('(')) => {
                while !self.takes(')') && self.next().is_some() {}
                Type::Other
            }
            Some(Token::Mark('-')) => {
                self.next();
                Type::Other
            }
            Some(Token::Number(number)) => Type::Literal(number),
            Some(Token::Word(name)) => Type::Name(name),
            _ => Type::Other,
        };
        self.after(ty)
    }

    /// A range or a control behind a type leaves its kind as it is.
    fn after(&mut self, ty: Type) -> Type {
        if !self.takes('.') {
            return ty;
        }
        if self.takes('.') {
            self.takes('-');
            self.next();
            return Type::Other;
        }
        self.next();
        if self.takes('(') {
            while !self.takes(')') && self.next().is_some() {}
        } else {
            self.next();
        }
        ty
    }

    /// The rest of `{ ? 0: type, ; label … extension }`
    fn map(&mut self) -> Type {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            match self.next() {
                None | Some(Token::Mark('}')) => return Type::Map(fields),
                Some(Token::Number(key)) if self.takes(':') => {
                    let ty = self.ty();
                    self.takes(',');
                    let comment = match self.tokens.get(self.at) {
                        Some(Token::Comment(comment)) => Some(*comment),
                        _ => None,
                    };
                    let label = label(comment, &ty);
                    fields.push(Field { key, ty, label });
                }
                Some(_) => {}
            }
        }
    }

    /// The rest of `[* type]`, `[1*256 type]` or `[type, type]`
    fn array(&mut self) -> Type {
        let least = matches!(self.tokens.get(self.at), Some(Token::Number(_)));
        self.at += usize::from(least && self.tokens.get(self.at + 1) == Some(&Token::Mark('*')));
        if self.takes('*') || self.takes('+') {
            self.at += usize::from(matches!(self.tokens.get(self.at), Some(Token::Number(_))));
            let ty = self.ty();
            self.takes(']');
            return Type::Repeat(Box::new(ty));
        }
        let mut items = Vec::new();
        while !self.takes(']') && self.at < self.tokens.len() {
            items.push(self.ty());
            self.takes(',');
        }
        Type::Array(items)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    fn takes(&mut self, mark: char) -> bool {
        let there = self.tokens.get(self.at) == Some(&Token::Mark(mark));
        self.at += usize::from(there);
        there
    }

    fn skip_comments(&mut self) {
        while let Some(Token::Comment(_)) = self.tokens.get(self.at) {
            self.at += 1;
        }
    }
}

/// What a field is called: the first words of its comment, or else its type.
fn label(comment: Option<&str>, ty: &Type) -> String {
    let words = comment.unwrap_or_default();
    let words = words.split([',', ';', ':', '.', '/']).next().unwrap_or_default().trim();
    if !words.is_empty() && !words.starts_with('"') {
        return words.to_owned();
    }
    match ty {
        Type::Name(name) => (*name).to_owned(),
        Type::Repeat(ty) => label(None, ty),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_specification_is_understood() {
        let text = include_str!("../../../spec/hikyaku.cddl");
        let declared: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains(' '))
            .collect();
        assert!(declared.len() > 60, "{declared:?}");
        for name in declared {
            let ty = rule(name).unwrap_or_else(|| panic!("{name} was not understood"));
            check(name, ty);
        }
    }

    /// Every name in a rule is a rule or one of CDDL's own, every field of a map has a label.
    fn check(rule_name: &str, ty: &Type) {
        match ty {
            Type::Name(name) => {
                let known = rule(name).is_some() || ["text", "bytes", "bool", "any", "null"].contains(name);
                assert!(known, "{rule_name} names {name}");
            }
            Type::Map(fields) => fields.iter().for_each(|field| {
                assert!(!field.label.is_empty(), "{rule_name} {}", field.key);
                check(rule_name, &field.ty);
            }),
            Type::Array(items) | Type::Choice(items) => items.iter().for_each(|ty| check(rule_name, ty)),
            Type::Repeat(ty) => check(rule_name, ty),
            Type::Literal(_) | Type::Other => {}
        }
    }
}
