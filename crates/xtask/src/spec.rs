//! `cargo xtask spec`: the specification and the code keep pace.

/// Runs the task.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    match args {
        [] => crate::codes::run(&["--check".into()]),
        _ => Err("usage: cargo xtask spec".into()),
    }
}
