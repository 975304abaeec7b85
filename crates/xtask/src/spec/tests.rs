//! What the comparison of specification and code promises.

use super::*;

const CHAPTER: &str = "\
# 2 Streams

Prose about a rule.

**S2.1** A sender MUST do this,
and MUST do that.

**S2.2** A sender SHOULD do this.

- **S2.3** In a list, a receiver MUST NOT do that.

```
MUST in a picture is no rule
```
";

fn rules(text: &str) -> (BTreeMap<String, Rule>, Vec<String>) {
    let (mut rules, mut problems) = (BTreeMap::new(), Vec::new());
    rules::chapter_rules("2-streams.md", "2", text, &mut rules, &mut problems);
    (rules, problems)
}

fn citations(text: &str) -> Citations {
    let mut citations = Citations::default();
    citations.read_file("lib.rs", text);
    citations
}

fn problems(code: &str, exceptions: &[Exception]) -> Vec<String> {
    compare(&rules(CHAPTER).0, &citations(code), exceptions)
}

fn exception(rule: &str, missing: Missing) -> Exception {
    Exception { rule: rule.into(), missing, reason: "it is about people".into() }
}

const ALL: &str = "//= S2.1\n//= S2.1 (test)\n    //= S2.3\n//= S2.3 (test)\n";

#[test]
fn a_chapter_gives_its_rules_and_only_a_must_binds() {
    let (rules, problems) = rules(CHAPTER);
    assert_eq!(problems, Vec::<String>::new());
    let binding: Vec<_> = rules.iter().map(|(id, rule)| (id.as_str(), rule.binds)).collect();
    assert_eq!(binding, [("S2.1", true), ("S2.2", false), ("S2.3", true)]);
    assert_eq!(rules["S2.1"].place, "spec/2-streams.md:5");
}

#[test]
fn a_must_without_a_number_and_a_number_given_twice_are_reported() {
    let stray = rules("A side MUST do it.\n").1;
    assert_eq!(stray, ["spec/2-streams.md:1: a MUST without a number"]);
    assert_eq!(rules("**S2.1** MUST.\n\n**S2.1** MUST.\n").1.len(), 1);
    assert_eq!(rules("**S3.1** MUST.\n").1.len(), 1, "of another chapter");
}

#[test]
fn a_rule_that_is_cited_by_code_and_test_is_no_problem() {
    assert_eq!(problems(ALL, &[]), Vec::<String>::new());
}

#[test]
fn a_rule_without_code_or_without_test_is_reported() {
    let found = problems("//= S2.1\n//= S2.3 (test)\n", &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("S2.1 is cited by no test (spec/2-streams.md:5): A sender"), "{found:?}");
    assert!(found[1].starts_with("S2.3 is cited by no code (spec/2-streams.md:10): In a list"), "{found:?}");
    assert!(problems("", &[])[0].starts_with("S2.1 is cited by no code and no test"));
}

#[test]
fn a_citation_of_a_rule_that_does_not_exist_is_reported_with_its_place() {
    assert_eq!(problems(&format!("{ALL}//= S2.9\n"), &[]), ["lib.rs:5: there is no rule S2.9"]);
}

#[test]
fn an_exception_excuses_what_it_names_until_it_is_no_longer_needed() {
    let code = "//= S2.1\n//= S2.1 (test)\n";
    assert_eq!(problems(code, &[exception("S2.3", Missing::Both)]), Vec::<String>::new());
    assert_eq!(problems(code, &[exception("S2.3", Missing::Code)]).len(), 1);
    assert_eq!(problems(ALL, &[exception("S2.3", Missing::Both)]).len(), 1, "cited by now");
    assert_eq!(problems(ALL, &[exception("S2.9", Missing::Both)]).len(), 1, "no such rule");
    let silent = Exception { reason: " ".into(), ..exception("S2.3", Missing::Both) };
    assert_eq!(problems(code, &[silent]).len(), 1, "no reason");
}
