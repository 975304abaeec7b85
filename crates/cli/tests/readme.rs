//! The lines of README that stand beside those of `scp` and `rsync` are typed as they are written there, in a home that
//! knows one server.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Place, Program, noise, server_with_room};

/// The last column of the table, with what is written differently in a table.
fn lines() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| ")).map(|line| line.replace("\\|", "\u{1}"));
    let cells = rows.filter_map(|row| Some(row.strip_suffix(" |")?.rsplit_once("| `")?.1.to_owned()));
    cells
        .filter(|cell| cell.contains("hikyaku"))
        .map(|cell| cell.trim_end_matches('`').replace('\u{1}', "|"))
        .collect()
}

/// What the lines speak of.
fn prepare(place: &Place) {
    place.file("big.iso", &noise(1, 300_000));
    for file in ["dataset/a", "proj/target/b", "proj/src/c", "a.txt", "b.txt"] {
        fs::create_dir_all(place.join(file).parent().unwrap()).unwrap();
        place.file(file, file.as_bytes());
    }
    let bin = place.directory("bin");
    let dump = place.file("bin/pg_dump", b"#!/bin/sh\necho a dump of $1\n");
    fs::set_permissions(dump, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hikyaku"), bin.join("hikyaku")).unwrap();
    shell(place, "echo compressed | gzip > report.pdf; git init -q . && git add a.txt b.txt").ok();
}

fn shell(place: &Place, line: &str) -> common::Done {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut bash = Command::new("bash");
    bash.current_dir(place.path()).args(["-c", &format!("set -o pipefail; {line}")]);
    bash.env("HIKYAKU_HOME", place.join("ana")).env_remove("HIKYAKU_SERVER");
    bash.env("PATH", format!("{}:{path}", place.join("bin").display()));
    Program::start(bash, None).finish()
}

fn empty(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.ends_with(".hikyaku") {
            continue;
        }
        if entry.is_dir() { fs::remove_dir_all(entry).unwrap() } else { fs::remove_file(entry).unwrap() }
    }
}

#[test]
fn what_is_written_beside_scp_and_rsync_does_what_it_says() {
    let place = Place::new();
    let drop = place.directory("drop");
    let (_server, _ana) = server_with_room(&place, &["--into", "drop"], "ops");
    prepare(&place);
    shell(&place, "hikyaku send report.pdf --to '#ops' && rm report.pdf").ok();
    let lines = lines();
    assert!(lines.len() >= 11, "{lines:#?}");
    for line in &lines {
        empty(&drop);
        let done = shell(&place, &line.replace("#ops:19", "#ops:1"));
        assert_eq!(done.code(), 0, "{line}: {done:#?}");
    }
    let sent = |line: &str, there: &str| {
        empty(&drop);
        let line = lines.iter().find(|typed| typed.contains(line)).expect("a line of README");
        shell(&place, line).ok();
        assert!(drop.join(there).exists(), "{line}: {there}");
    };
    sent("a.txt b.txt", "sub/b.txt");
    sent("--files-from", "src/a.txt");
    sent("--name", "db.sql");
    sent("--exclude", "proj/src/c");
    assert!(!drop.join("proj/target").exists());
}
