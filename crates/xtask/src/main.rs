//! Developer tasks. `cargo xtask test` is the one test command; `cargo xtask` alone lists the others.
//!
//! A task is a function from its arguments to a result whose error is one sentence for a person.

#![forbid(unsafe_code)]

mod codes;
mod scene;
mod soak;
mod spec;
mod tables;
mod test;
mod vectors;
mod workspace;

use std::process::ExitCode;

/// What a task gives back: nothing, or one sentence saying what failed and what to do.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// One developer task, as listed by `cargo xtask`.
struct Task {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Outcome,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        arguments: "[--only STEP,…] [--skip STEP,…] [--list]",
        about: "everything that must hold before a change is taken",
        run: test::run,
    },
    Task {
        name: "codes",
        arguments: "[--check]",
        about: "make Rust consts and the spec's tables from the registries",
        run: codes::run,
    },
    Task {
        name: "vectors",
        arguments: "[--check]",
        about: "make the test vectors of the spec from sample values",
        run: vectors::run,
    },
    Task {
        name: "spec",
        arguments: "",
        about: "every rule of the spec is obeyed and tested somewhere; registries, vectors and CDDL agree",
        run: spec::run,
    },
    Task {
        name: "tables",
        arguments: "",
        about: "write the spec's transition tables anew from the state machines",
        run: tables::run,
    },
    Task {
        name: "scene",
        arguments: "",
        about: "play the scene of README with the program of today, and write it and its recording anew",
        run: scene::run,
    },
    Task {
        name: "soak",
        arguments: "[RUN] [ARGUMENT]…",
        about: "long runs, never part of `test`; without a name it lists them",
        run: soak::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        list();
        return ExitCode::SUCCESS;
    };
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprintln!("xtask: there is no task `{name}`. The tasks are:");
        list();
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("\nxtask {name}: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for task in TASKS {
        println!("cargo xtask {} {}\n    {}", task.name, task.arguments, task.about);
    }
}
