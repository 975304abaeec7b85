//! One CBOR item in diagnostic notation (RFC 8949 §8), with the fields' names as comments.

use std::fmt::Write as _;

use hikyaku_wire::cbor::{self, CborError, Limits};
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::text::is_hostile;

use crate::cddl::{self, Type};
use crate::limits;

/// Bytes of a byte string that are shown.
const BYTES: usize = 32;
/// Characters of a text that are shown.
const CHARACTERS: usize = 512;

/// Byte strings that hold an encoded item: the rule they stand in, the key or none in an array, the rule of the item.
const EMBEDDED: [(&str, Option<u64>, &str); 2] =
    [("record", Some(0), "envelope"), ("records", None, "record")];

/// The item in `bytes` as text, as far as it can be read; and what is wrong with it under the profile of chapter 3.7,
/// with the place. `rule` is the rule of the CDDL it should obey, which is not checked and only gives names.
pub fn diagnostic(bytes: &[u8], rule: Option<&str>) -> (String, Option<(u64, String)>) {
    let mut printer = Printer { bytes, at: 0, out: String::new() };
    let ty = rule.and_then(cddl::rule);
    if printer.item(ty, rule, 0).is_err() {
        printer.out.push('…');
    }
    let error = cbor::check(bytes, &Limits::default()).err();
    (printer.out, error.map(|error| (place(&error), error.to_string())))
}

fn place(error: &CborError) -> u64 {
    match error {
        CborError::Truncated { offset }
        | CborError::Trailing { offset }
        | CborError::Forbidden { offset, .. }
        | CborError::NotShortest { offset }
        | CborError::IntegerRange { offset }
        | CborError::Utf8 { offset }
        | CborError::DuplicateKey { offset } => *offset as u64,
        CborError::Limit { .. } | CborError::Shape { .. } => 0,
    }
}

struct Printer<'a> {
    bytes: &'a [u8],
    at: usize,
    out: String,
}

/// The item cannot be read any further, or the text is long enough.
struct Stop;

impl<'a> Printer<'a> {
    /// One item, of type `ty`; `rule` is the last rule that was named on the way to it.
    fn item(&mut self, ty: Option<&'static Type>, rule: Option<&str>, depth: usize) -> Result<(), Stop> {
        if self.out.len() > limits::TEXT || depth > Limits::MAX_DEPTH {
            return Err(Stop);
        }
        let name = match ty {
            Some(Type::Name(name)) => Some(*name),
            _ => rule,
        };
        let ty = ty.map(|ty| self.chosen(ty.resolved()));
        let (major, argument) = self.head()?;
        match major {
            0 => {
                self.put(format_args!("{argument}"))?;
                if name == Some("code") {
                    self.code(argument)?;
                }
                Ok(())
            }
            1 => self.put(format_args!("-{}", u128::from(argument) + 1)),
            2 => {
                let bytes = self.string(argument)?;
                self.byte_string(bytes)
            }
            3 => {
                let bytes = self.string(argument)?;
                self.text(&String::from_utf8_lossy(bytes))
            }
            4 => self.array(argument, ty, name, depth),
            5 => self.map(argument, ty, name, depth),
            7 if (20..=22).contains(&argument) => {
                let word = ["false", "true", "null"].get(argument as usize - 20).copied().unwrap_or_default();
                self.put(format_args!("{word}"))
            }
            _ => Err(Stop),
        }
    }

    fn array(
        &mut self,
        length: u64,
        ty: Option<&'static Type>,
        rule: Option<&str>,
        depth: usize,
    ) -> Result<(), Stop> {
        self.put(format_args!("["))?;
        for index in 0..length {
            if index > 0 {
                self.put(format_args!(", "))?;
            }
            if self.embedded(rule, None, depth)? {
                continue;
            }
            let ty = match ty {
                Some(Type::Repeat(ty)) => Some(&**ty),
                Some(Type::Array(items)) => usize::try_from(index).ok().and_then(|index| items.get(index)),
                _ => None,
            };
            self.item(ty, None, depth + 1)?;
        }
        self.put(format_args!("]"))
    }

    fn map(
        &mut self,
        length: u64,
        ty: Option<&'static Type>,
        rule: Option<&str>,
        depth: usize,
    ) -> Result<(), Stop> {
        let fields = match ty {
            Some(Type::Map(fields)) => fields.as_slice(),
            _ => &[],
        };
        self.put(format_args!("{{"))?;
        for index in 0..length {
            if index > 0 {
                self.put(format_args!(", "))?;
            }
            let key = self.peek().filter(|(major, _)| *major == 0).map(|(_, key)| key);
            self.item(None, None, depth + 1)?;
            let field = key.and_then(|key| fields.iter().find(|field| field.key == key));
            if let Some(field) = field.filter(|field| !field.label.is_empty()) {
                self.put(format_args!(" /{}/", field.label))?;
            }
            self.put(format_args!(": "))?;
            if !self.embedded(rule, key, depth)? {
                self.item(field.map(|field| &field.ty), None, depth + 1)?;
            }
        }
        self.put(format_args!("}}"))
    }

    /// A byte string that holds an item which is known: `<<item>>`.
    fn embedded(&mut self, rule: Option<&str>, key: Option<u64>, depth: usize) -> Result<bool, Stop> {
        let inner = EMBEDDED.iter().find(|(outer, at, _)| rule == Some(*outer) && key == *at);
        let (Some((_, _, inner)), Some((2, length))) = (inner, self.peek()) else { return Ok(false) };
        self.head()?;
        let bytes = self.string(length)?;
        if cbor::check(bytes, &Limits::default()).is_err() {
            self.byte_string(bytes)?;
            return Ok(true);
        }
        self.put(format_args!("<<"))?;
        let mut printer = Printer { bytes, at: 0, out: std::mem::take(&mut self.out) };
        let printed = printer.item(cddl::rule(inner), Some(inner), depth + 1);
        self.out = printer.out;
        printed?;
        self.put(format_args!(">>"))?;
        Ok(true)
    }

    /// Of several types, the one that fits what comes next.
    fn chosen(&self, ty: &'static Type) -> &'static Type {
        let Type::Choice(choice) = ty else { return ty };
        let mut ahead = Printer { bytes: self.bytes, at: self.at, out: String::new() };
        let Ok((major, _)) = ahead.head() else { return ty };
        let first = ahead.peek();
        let fits = |ty: &&'static Type| match ty.resolved() {
            Type::Map(_) => major == 5,
            Type::Repeat(_) => major == 4,
            Type::Array(items) => match items.first() {
                Some(Type::Literal(number)) => major == 4 && first == Some((0, *number)),
                _ => major == 4,
            },
            _ => false,
        };
        choice.iter().map(|ty| ty as &'static Type).find(fits).map_or(ty, Type::resolved)
    }

    /// Major type and argument of the next item.
    fn head(&mut self) -> Result<(u8, u64), Stop> {
        let (first, rest) = self.bytes.get(self.at..).and_then(<[u8]>::split_first).ok_or(Stop)?;
        let (argument, size) = match first & 0x1f {
            small @ 0..=23 => (u64::from(small), 0),
            more @ 24..=27 => {
                let size = 1_usize << (more - 24);
                let digits = rest.get(..size).ok_or(Stop)?;
                (digits.iter().fold(0, |value, digit| value << 8 | u64::from(*digit)), size)
            }
            _ => return Err(Stop),
        };
        self.at += 1 + size;
        Ok((first >> 5, argument))
    }

    fn peek(&self) -> Option<(u8, u64)> {
        Printer { bytes: self.bytes, at: self.at, out: String::new() }.head().ok()
    }

    fn string(&mut self, length: u64) -> Result<&'a [u8], Stop> {
        let length = usize::try_from(length).map_err(|_| Stop)?;
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.get(..length)).ok_or(Stop)?;
        self.at += length;
        Ok(bytes)
    }

    fn byte_string(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.put(format_args!("h'"))?;
        for byte in bytes.iter().take(BYTES) {
            self.put(format_args!("{byte:02x}"))?;
        }
        if bytes.len() > BYTES {
            return self.put(format_args!("…' /{} bytes/", bytes.len()));
        }
        self.put(format_args!("'"))
    }

    fn text(&mut self, text: &str) -> Result<(), Stop> {
        self.put(format_args!("\""))?;
        for (index, character) in text.chars().enumerate() {
            match character {
                _ if index == CHARACTERS => {
                    return self.put(format_args!("…\" /{} bytes/", text.len()));
                }
                '"' | '\\' => self.put(format_args!("\\{character}"))?,
                _ if is_hostile(character) => self.put(format_args!("{}", character.escape_unicode()))?,
                _ => self.put(format_args!("{character}"))?,
            }
        }
        self.put(format_args!("\""))
    }

    fn code(&mut self, code: u64) -> Result<(), Stop> {
        match ErrorCode::from_wire(code).name() {
            Some(name) => self.put(format_args!(" /{name}/")),
            None => Ok(()),
        }
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) -> Result<(), Stop> {
        if self.out.len() > limits::TEXT {
            return Err(Stop);
        }
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(what);
        Ok(())
    }
}
