//! SECURITY.md names, for each threat, the tests that hold its counter-measure. They have to exist, and a threat without
//! one has to say so. Tests that other pages name for a promise have to exist, too.

use std::collections::BTreeSet;

/// The heading of the table.
const HEADING: &str = "## Threats, what is done about them, and which test holds it";
/// What a row without a test says.
const NO_TEST: &str = "no test";
/// So many words make a name a sentence, and therefore a test's.
const WORDS: usize = 6;
/// How far above a test's name its attribute stands.
const ABOVE: usize = 5;

/// The tests of a Rust source file.
pub(super) fn tests(code: &[String]) -> impl Iterator<Item = String> {
    code.iter().enumerate().filter_map(|(line, text)| {
        let (_, after) = text.split_once("fn ")?;
        let name = after.split(|symbol: char| !symbol.is_alphanumeric() && symbol != '_').next()?;
        let above = code.get(line.saturating_sub(ABOVE)..line)?;
        let is_attribute = |text: &String| text.contains("#[test]") || text.contains("#[tokio::test");
        above.iter().any(is_attribute).then(|| name.to_owned())
    })
}

/// What is wrong with the table of `text`, a sentence each.
pub(super) fn broken(text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let Some((_, section)) = text.split_once(HEADING) else {
        return vec![format!("SECURITY.md: there is no section `{HEADING}`")];
    };
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("|---"))
        .map(|line| line.trim_matches('|').split(" | ").collect())
        .collect();
    let mut broken = Vec::new();
    for row in rows.iter().skip(1) {
        let [threat, _, held] = row[..] else {
            broken.push(format!("SECURITY.md: a row has not three columns: {}", row.join(" | ")));
            continue;
        };
        let named: Vec<&str> = held.split('`').skip(1).step_by(2).collect();
        if named.is_empty() && !held.contains(NO_TEST) {
            broken.push(format!("SECURITY.md: the row{threat} names no test, and does not say `{NO_TEST}`"));
        }
        for name in named.into_iter().filter(|name| !tests.contains(*name)) {
            broken.push(format!("SECURITY.md: there is no test `{name}`, which the row{threat} names"));
        }
    }
    if rows.len() < 2 {
        broken.push("SECURITY.md: the table of threats is empty".to_owned());
    }
    broken
}

/// Tests that a page names and that are not there: whatever stands in backticks and is a sentence.
pub(super) fn missing(page: &str, text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let named = text.split('`').skip(1).step_by(2);
    let sentences = named.filter(|name| {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        name.split('_').count() >= WORDS && name.bytes().all(is_name)
    });
    let missing = sentences.filter(|name| !tests.contains(*name));
    missing.map(|name| format!("{page}: there is no test `{name}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_any_page_names_has_to_exist() {
        let known = BTreeSet::from(["what_was_said_once_is_there_once".to_owned()]);
        let of = |text: &str| missing("README.md", text, &known).len();
        assert_eq!(of("Held by `what_was_said_once_is_there_once`, and `not_a_test` is short."), 0);
        assert_eq!(of("Held by `what_was_said_twice_is_there_once`."), 1);
    }

    fn page(row: &str) -> String {
        format!(
            "# Security\n\n{HEADING}\n\n| threat | done | tests |\n|---|---|---|\n{row}\n\n## More\n\n| a | `b` |\n"
        )
    }

    #[test]
    fn a_test_that_is_named_has_to_exist_and_a_row_without_one_has_to_say_so() {
        let known = BTreeSet::from(["it_holds".to_owned()]);
        let of = |row: &str| broken(&page(row), &known);
        assert_eq!(of("| flood | a cap | `it_holds` |"), [""; 0]);
        assert_eq!(of("| web | there is none | no test: nothing to test |"), [""; 0]);
        assert!(of("| flood | a cap | `it_holds`, `it_held` |")[0].contains("no test `it_held`"));
        assert!(of("| flood | a cap | soon |")[0].contains("names no test"));
        assert!(of("| flood | a cap |")[0].contains("three columns"));
        assert!(of("")[0].contains("empty"));
        assert!(broken("# Security", &known)[0].contains("no section"));
    }

    #[test]
    fn tests_are_functions_with_the_attribute_whatever_stands_between() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let code = lines(
            "#[test]\nfn one() {}\n\n\n\n\n#[tokio::test]\n#[x]\nasync fn two() {\n}\n\n\n\n\nfn no() {}",
        );
        assert_eq!(tests(&code).collect::<Vec<_>>(), ["one", "two"]);
    }
}
