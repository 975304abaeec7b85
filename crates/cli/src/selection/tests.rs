use clap::Parser;

use super::*;

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    rules: Rules,
}

fn patterns(words: &[&str]) -> Patterns {
    Typed::parse_from([&["x"], words].concat()).rules.compile().unwrap()
}

#[track_caller]
fn check(words: &[&str], path: &str, wanted: Pick) {
    let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
    assert_eq!(patterns(words).pick(Path::new(path), is_dir), wanted, "{words:?} {path}");
}

#[test]
fn what_is_excluded_is_left_and_the_rest_is_carried() {
    let words = ["--exclude", "target/", "--exclude", "*.log", "--exclude", "/top"];
    for left in ["target/", "deep/target/", "a.log", "deep/b.log", "top"] {
        check(&words, left, Pick::Leave);
    }
    for carried in ["target", "a.txt", "deep/top", "deep/"] {
        check(&words, carried, Pick::Carry);
    }
}

#[test]
fn the_last_pattern_that_matches_decides() {
    check(&["--exclude", "*.log", "--include", "keep.log"], "keep.log", Pick::Carry);
    check(&["--exclude", "*.log", "--include", "keep.log"], "other.txt", Pick::Carry);
    check(&["--include", "keep.log", "--exclude", "*.log"], "keep.log", Pick::Leave);
}

#[test]
fn an_include_that_comes_first_means_nothing_else() {
    let words = ["--include", "*.rs", "--include", "docs/", "--exclude", "gen.rs"];
    for (path, wanted) in [
        ("a.rs", Pick::Carry),
        ("src/", Pick::Through),
        ("src/b.rs", Pick::Carry),
        ("src/gen.rs", Pick::Leave),
        ("notes.txt", Pick::Leave),
        ("docs/", Pick::Carry),
        ("docs/deep/picture.png", Pick::Carry),
    ] {
        check(&words, path, wanted);
    }
}

#[test]
fn a_pattern_that_is_none_is_a_mistake_of_usage() {
    for pattern in ["!x", "{a"] {
        let rules = Typed::parse_from(["x", "--exclude", pattern]).rules;
        assert!(rules.compile().is_err(), "{pattern}");
    }
}

#[test]
fn a_pattern_is_relative_to_each_path_that_was_named() {
    for (path, below) in [("top/a/b", "a/b"), ("top", "top"), ("top/a", "a")] {
        assert_eq!(within(Path::new(path)), Path::new(below));
    }
}
