//! What the examples promise. That they run and end by themselves is a step of `cargo xtask test`.

#[test]
fn hello_has_at_most_25_lines_of_code_and_says_nothing_of_certificates() {
    let hello = include_str!("../examples/hello.rs");
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let lines = hello.lines().map(str::trim).filter(is_code).count();
    assert!(lines <= 25, "{lines} lines of code");
    assert!(!hello.to_lowercase().contains("certificate"));
}
