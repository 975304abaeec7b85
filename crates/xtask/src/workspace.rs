//! Where the project is, and how its commands are started: always from the root, always with the
//! cargo that started us, never with the environment of the crate `xtask` itself.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// The checked-out project.
pub(crate) struct Workspace {
    /// The directory that holds the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo builds; tools that we install for ourselves live in its `tools` directory.
    pub(crate) target: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// Finds the project from the place where this program was compiled.
    pub(crate) fn find() -> Outcome<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).unwrap_or(here).to_path_buf();
        if !root.join("Cargo.lock").is_file() {
            return Err(format!("{} does not hold the project any more; build xtask again", root.display()));
        }
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => root.join(directory),
            None => root.join("target"),
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Ok(Self { root, target, cargo })
    }

    /// A cargo command, to be run from the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.cargo);
        command.args(arguments);
        command
    }

    /// Any command, to be run from the root. What `cargo run` told this process about the crate `xtask`
    /// is taken away, or an inner cargo would find its environment changed and build things again.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_")
                || text.starts_with("CARGO_MANIFEST_")
                || text == "CARGO_CRATE_NAME"
            {
                command.env_remove(&name);
            }
        }
        command
    }
}

/// Runs a command with our own input and output; anything but success is an error with its command line.
pub(crate) fn must(command: &mut Command) -> Outcome {
    let line = shown(command);
    let status = command.status().map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` ended with {status}")) }
}

/// Runs a command quietly and gives its standard output; on failure the error ends with what it wrote to standard error.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{line}` ended with {}: {}", output.status, reason.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command whose output is both shown and given to `each`, line by line, standard error included.
pub(crate) fn watch(command: &mut Command, mut each: impl FnMut(&str)) -> Outcome {
    let line = shown(command);
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("`{line}` could not be started: {error}"))?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut readers = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        readers.push(relay(stdout, std::io::stdout(), sender.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.push(relay(stderr, std::io::stderr(), sender));
    }
    for text in receiver {
        each(&text);
    }
    for reader in readers {
        reader.join().map_err(|_| format!("the output of `{line}` could not be read"))?;
    }
    let status = child.wait().map_err(|error| format!("`{line}` could not be awaited: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` ended with {status}")) }
}

/// Copies lines from a child to one of our own outputs and to the channel, until the child closes its end.
fn relay(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    copy: std::sync::mpsc::Sender<String>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            // A closed terminal is no reason to stop counting.
            let _ = to.write_all(&line);
            let _ = copy.send(String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
    })
}

/// The command line as a person would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
