//! The second implementation, in Python (`tests/peer`), against the program: the peer, a hostile peer, an evil server.
//!
//! It needs Python 3.11, the tool `openssl` and one package, which goes into a virtual environment under `target/`.
//! As root, a Debian system's packages fill what is missing. Where the three cannot be had the step says SKIPPED and
//! why; that is not a failure, and never silent.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::workspace::{Workspace, must, output, watch};

const DEBIAN: &[&str] = &["python3", "python3-venv", "python3-cbor2", "openssl"];
/// Prints the version of `cbor2`, and fails where the peer could not run.
const PROBE: &str = "import sys, ssl, cbor2, importlib.metadata as m\n\
    assert sys.version_info >= (3, 11), 'Python 3.11 is needed'\n\
    print(m.version('cbor2'))";

pub(super) fn run(workspace: &Workspace) -> Outcome<String> {
    let python = match python(workspace) {
        Ok(python) => python,
        Err(reason) => {
            let skipped = format!("SKIPPED: {reason}");
            println!("{skipped}");
            return Ok(skipped);
        }
    };
    // As the tests and examples are built, so that nothing is built twice.
    must(&mut workspace.cargo(&["build", "--workspace", "--bins", "--examples", "--locked"]))?;
    let mut suites = workspace.command(&python);
    suites.args(["-m", "unittest", "discover", "--start-directory", "tests/peer", "--pattern", "test_*.py"]);
    suites.env("PYTHONDONTWRITEBYTECODE", "1");
    suites.env("HIKYAKU_BIN", workspace.target.join("debug").join("hikyaku"));
    let mut cases = None;
    let ran = watch(&mut suites, |line| cases = counted(line).or(cases));
    let Some(cases) = cases else { return Err(ran.err().unwrap_or("no case ran".into())) };
    println!("{cases} cases ran");
    ran?;
    if cases == 0 { Err("no case ran".into()) } else { Ok(format!("{cases} cases")) }
}

/// Takes the line `Ran 365 tests in 18.9s`.
fn counted(line: &str) -> Option<u64> {
    line.strip_prefix("Ran ")?.split_once(" test")?.0.parse().ok()
}

/// A Python that can run the suites: of our own environment, made when missing, else Debian's.
fn python(workspace: &Workspace) -> Outcome<PathBuf> {
    let place = workspace.target.join("peer");
    let own = place.join("bin").join("python");
    let fits = |python: &Path| output(workspace.command(python).args(["-c", PROBE]));
    let openssl = || output(workspace.command("openssl").arg("version")).map(drop);
    if openssl().is_ok() && fits(&own).is_ok() {
        return Ok(own);
    }
    let first = openssl()
        .and_then(|()| environment(workspace, Path::new("python3"), &place))
        .and_then(|()| fits(&own));
    let Err(reason) = first else { return Ok(own) };
    println!("{reason}\nDebian's packages are tried: {}", DEBIAN.join(" "));
    debian(workspace).map_err(|second| format!("{reason}; and {second}"))?;
    openssl()?;
    let system = Path::new("/usr/bin/python3");
    if environment(workspace, system, &place).and_then(|()| fits(&own)).is_ok() {
        return Ok(own);
    }
    let version = fits(system).map_err(|second| format!("{reason}; and then {second}"))?;
    println!("the package cbor2 is Debian's {}", version.trim());
    Ok(system.into())
}

/// A new virtual environment with the packages that `requirements.txt` pins.
fn environment(workspace: &Workspace, python: &Path, place: &Path) -> Outcome {
    println!("the packages of tests/peer go into {}", place.display());
    output(workspace.command(python).args(["-m", "venv", "--clear"]).arg(place))?;
    let mut install = workspace.command(place.join("bin").join("python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
    output(install.args(["--requirement", "tests/peer/requirements.txt"])).map(drop)
}

/// Installs what is missing where that needs no question: as root, on a system that has `apt-get`.
fn debian(workspace: &Workspace) -> Outcome {
    if output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() != "0") {
        return Err(format!("only root may install {}", DEBIAN.join(" ")));
    }
    let apt = |arguments: &[&str]| {
        let mut command = workspace.command("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = [&["install", "--yes", "--no-install-recommends"], DEBIAN].concat();
    if output(&mut apt(&install)).is_ok() {
        return Ok(());
    }
    output(&mut apt(&["update"]))?; // a new machine knows no package yet
    output(&mut apt(&install)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_the_suites_is_counted() {
        assert_eq!(counted("Ran 365 tests in 18.911s"), Some(365));
        assert_eq!(counted("Ran 1 test in 0.001s\n"), Some(1));
        assert_eq!(counted("OK (skipped=3)"), None);
    }
}
