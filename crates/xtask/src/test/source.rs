//! A Rust source file seen just closely enough for the house rules: comments, strings and characters are blanked
//! out (every line stays where it was), so that braces can be counted and words can be found.
//!
//! This is no parser. It knows raw strings, nested comments and lifetimes, and needs nothing else.

/// A source file, as written and with everything blanked that is not code.
pub(super) struct Source {
    /// The lines as written.
    pub(super) lines: Vec<String>,
    /// The same number of lines; comments and literals are spaces.
    pub(super) code: Vec<String>,
}

/// A function with a body: its name, its first line (from 0) and how many lines it has.
#[derive(Debug, PartialEq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) length: usize,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        let code = blanked(text);
        let lines = |text: &str| text.split('\n').map(str::to_owned).collect();
        Self { lines: lines(text), code: lines(&code) }
    }

    /// For each line, whether it belongs to an item under `#[cfg(test)]` or `#[test]`.
    pub(super) fn test_lines(&self) -> Vec<bool> {
        let mut marks = vec![false; self.code.len()];
        let mut line = 0;
        while line < self.code.len() {
            let text = self.code[line].trim();
            let is_test = text.starts_with("#[cfg(test)]") || text.starts_with("#[test]");
            let end = if is_test { self.item_end(line) } else { line };
            if is_test {
                marks[line..=end].fill(true);
            }
            line = end + 1;
        }
        marks
    }

    /// Every function that has a body.
    pub(super) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (line, text) in self.code.iter().enumerate() {
            let Some(name) = function_name(text) else { continue };
            let end = self.item_end(line);
            let has_body = self.code[line..=end].iter().any(|text| text.contains('{'));
            if has_body {
                functions.push(Function { name: name.to_owned(), line, length: end - line + 1 });
            }
        }
        functions
    }

    /// The last line of the item that begins at `start`: where its braces close, or where a `;` ends it before any opened.
    fn item_end(&self, start: usize) -> usize {
        let mut braces = 0usize;
        let mut brackets = 0usize;
        for (line, text) in self.code.iter().enumerate().skip(start) {
            for symbol in text.chars() {
                match symbol {
                    '{' => braces += 1,
                    '}' if braces <= 1 => return line,
                    '}' => braces -= 1,
                    '(' | '[' => brackets += 1,
                    ')' | ']' => brackets = brackets.saturating_sub(1),
                    ';' if braces == 0 && brackets == 0 => return line,
                    _ => {}
                }
            }
        }
        self.code.len() - 1
    }
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let starts_a_word = before.chars().next_back().is_none_or(char::is_whitespace);
    let name = after.split(|symbol: char| !symbol.is_alphanumeric() && symbol != '_').next()?;
    (starts_a_word && !name.is_empty()).then_some(name)
}

/// The text with comments, strings and characters replaced by spaces; line breaks stay.
fn blanked(text: &str) -> String {
    let symbols: Vec<char> = text.chars().collect();
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    while at < symbols.len() {
        let end = literal_end(&symbols, at);
        if end == at {
            result.push(symbols[at]);
            at += 1;
        } else {
            for symbol in &symbols[at..end] {
                result.push(if *symbol == '\n' { '\n' } else { ' ' });
            }
            at = end;
        }
    }
    result
}

/// Where the comment, string or character that begins at `at` ends; `at` itself when none begins there.
fn literal_end(symbols: &[char], at: usize) -> usize {
    let next = symbols.get(at + 1).copied();
    match symbols[at] {
        '/' if next == Some('/') => find(symbols, at, |symbol| symbol == '\n'),
        '/' if next == Some('*') => comment_end(symbols, at),
        '"' => quoted_end(symbols, at + 1, '"'),
        'r' if matches!(next, Some('"' | '#')) && !continues_a_word(symbols, at) => raw_end(symbols, at),
        '\'' if next == Some('\\') => quoted_end(symbols, at + 1, '\''),
        // A lifetime has no closing quote two places on.
        '\'' if symbols.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn find(symbols: &[char], from: usize, is_end: impl Fn(char) -> bool) -> usize {
    (from..symbols.len()).find(|&at| is_end(symbols[at])).unwrap_or(symbols.len())
}

/// `br"…"` is a raw string too, but `bar"` is not Rust.
fn continues_a_word(symbols: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| symbols[at]);
    let is_word =
        |symbol: Option<char>| symbol.is_some_and(|symbol| symbol.is_alphanumeric() || symbol == '_');
    is_word(before(1)) && (before(1) != Some('b') || is_word(before(2)))
}

fn comment_end(symbols: &[char], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while at < symbols.len() {
        match (symbols[at], symbols.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    symbols.len()
}

fn quoted_end(symbols: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < symbols.len() {
        match symbols[at] {
            '\\' => at += 2,
            symbol if symbol == quote => return at + 1,
            _ => at += 1,
        }
    }
    symbols.len()
}

fn raw_end(symbols: &[char], start: usize) -> usize {
    let quote = find(symbols, start + 1, |symbol| symbol != '#');
    if symbols.get(quote) != Some(&'"') {
        return start; // `r#type` is a name
    }
    let hashes = quote - start - 1;
    let closes = |at: usize| {
        symbols[at] == '"'
            && symbols[at + 1..].iter().take(hashes).filter(|symbol| **symbol == '#').count() == hashes
    };
    (quote + 1..symbols.len()).find(|&at| closes(at)).map_or(symbols.len(), |at| at + 1 + hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blank_and_code_stays() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y", 'z', '\'')"#, "f(      ,    ,     )"),
            (r##"g(r#"a"b"#, r"c", br"d")"##, "g(        ,     , b    )"),
            ("fn h<'a>(x: &'a str) {}", "fn h<'a>(x: &'a str) {}"),
            ("let r#type = 1;", "let r#type = 1;"),
        ];
        for (text, code) in cases {
            assert_eq!(blanked(text), code, "{text}");
        }
    }

    #[test]
    fn functions_are_measured_from_signature_to_closing_brace() {
        let source = Source::new(
            "trait T {\n    fn no_body(&self, x: [u8; 2]);\n    fn one(&self) { \"}\"; }\n}\nfn two(\n) {\n    if x { y }\n}\n",
        );
        let found: Vec<(String, usize, usize)> =
            source.functions().into_iter().map(|found| (found.name, found.line, found.length)).collect();
        assert_eq!(found, [("one".into(), 2, 1), ("two".into(), 4, 4)]);
    }

    #[test]
    fn lines_of_test_items_are_known() {
        let source = Source::new(
            "fn a() {\n}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod t;\nfn d() {}",
        );
        let expected = [false, false, true, true, true, true, false, true, true, false];
        assert_eq!(source.test_lines(), expected);
    }
}
