//! `cargo xtask soak fuzz`: libFuzzer on the targets of `fuzz/`, for as many minutes each as asked.
//!
//! The coverage that libFuzzer needs is a matter of two stable flags of the compiler, so neither a nightly compiler nor
//! cargo-fuzz is needed; the address sanitizer is not used, since no crate of ours has unsafe code. What the targets
//! have found so far lives in `target/fuzz/corpus` (what makes them fail, in `target/fuzz/findings`), and what of it
//! reaches something new goes into `fuzz/corpus` with `--keep`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::workspace::{Workspace, must, output};

/// The compiler inserts counters at every edge and tells comparisons: what `cargo fuzz` asks for too.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The longest input that is tried, and the longest that is kept in the repository.
const LONGEST: u64 = 4_096;
/// What one target may have in the repository, in bytes and in inputs.
const MOST_KEPT: usize = 64 * 1024;
const MOST_UNITS: usize = 100;
/// One input that takes longer, or more memory, is a finding.
const SECONDS_FOR_ONE: u64 = 10;
const MEGABYTES: u64 = 1_024;

/// What the arguments ask for.
#[derive(Debug, PartialEq)]
struct Wish {
    seconds: u64,
    /// None: all of them.
    targets: Vec<String>,
    keep: bool,
    list: bool,
}

/// What one run found.
#[derive(Debug, Default, PartialEq)]
struct Report {
    executions: u64,
    a_second: u64,
    edges: u64,
    features: u64,
    units: u64,
    megabytes: u64,
    /// The input that failed, and the line that says how.
    finding: Option<String>,
}

pub(super) fn run(arguments: &[String]) -> Outcome {
    let wish = Wish::read(arguments)?;
    let fuzz = Fuzz::find()?;
    let known = fuzz.targets()?;
    if wish.list {
        known.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let targets = if wish.targets.is_empty() { known.clone() } else { wish.targets.clone() };
    if let Some(unknown) = targets.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no fuzz target `{unknown}`; the targets are {}", known.join(", ")));
    }
    fuzz.build(&targets)?;
    fuzz.seed()?;
    let mut table = format!(
        "\n{:<20} {:>12} {:>9} {:>7} {:>9} {:>6} {:>7}  finding\n",
        "target", "executions", "a second", "edges", "features", "units", "MB"
    );
    let mut findings = 0;
    for name in &targets {
        println!("== {name}: {} s", wish.seconds);
        let report = fuzz.run(name, wish.seconds)?;
        findings += usize::from(report.finding.is_some());
        let _ = writeln!(
            table,
            "{name:<20} {:>12} {:>9} {:>7} {:>9} {:>6} {:>7}  {}",
            report.executions,
            report.a_second,
            report.edges,
            report.features,
            report.units,
            report.megabytes,
            report.finding.as_deref().unwrap_or("none")
        );
        if wish.keep && report.finding.is_none() {
            fuzz.keep(name)?;
        }
    }
    println!("{table}");
    match findings {
        0 => Ok(()),
        _ => Err(format!(
            "{findings} targets failed; run one input with `{}/TARGET INPUT`, mend what it shows, and put the input \
             into fuzz/corpus/TARGET",
            fuzz.binaries().display()
        )),
    }
}

impl Wish {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut wish = Self { seconds: 60, targets: Vec::new(), keep: false, list: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--minutes" => {
                    let minutes = value()?;
                    let minutes: f64 =
                        minutes.parse().map_err(|_| format!("`{minutes}` is not a number of minutes"))?;
                    wish.seconds = (minutes * 60.0).clamp(1.0, 1e6) as u64;
                }
                "--target" => wish.targets.extend(value()?.split(',').map(str::to_owned)),
                "--keep" => wish.keep = true,
                "--list" => wish.list = true,
                _ => return Err(format!("`{argument}` is not an argument of soak fuzz")),
            }
        }
        Ok(wish)
    }
}

/// The crate of the targets, and where its runs keep what they make.
struct Fuzz {
    workspace: Workspace,
    host: String,
    /// `target/fuzz`.
    place: PathBuf,
}

impl Fuzz {
    fn find() -> Outcome<Self> {
        let workspace = Workspace::find()?;
        let said = output(workspace.command(rustc()).arg("-vV"))?;
        let host = said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned);
        let host = host.ok_or("rustc -vV does not say what it compiles for")?;
        let place = workspace.target.join("fuzz");
        Ok(Self { workspace, host, place })
    }

    /// The names of the targets: one file each.
    fn targets(&self) -> Outcome<Vec<String>> {
        let directory = self.workspace.root.join("fuzz/fuzz_targets");
        let mut names = Vec::new();
        for file in files(&directory)? {
            names.extend(file.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
        names.sort();
        Ok(names)
    }

    /// With `--target`, build scripts and macros stay without counters.
    fn build(&self, targets: &[String]) -> Outcome {
        let mut command = self.workspace.cargo(&["build", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
        command.args(["--target", &self.host]).arg("--target-dir").arg(&self.place);
        for name in targets {
            command.args(["--bin", name]);
        }
        must(command.env("RUSTFLAGS", COVERAGE)).map_err(|sentence| {
            format!("{sentence}; a C++ compiler is needed for libFuzzer, and a rustc with LLVM's sancov for coverage")
        })
    }

    fn binaries(&self) -> PathBuf {
        self.place.join(&self.host).join("release")
    }

    fn corpus(&self, target: &str) -> PathBuf {
        self.place.join("corpus").join(target)
    }

    fn kept(&self, target: &str) -> PathBuf {
        self.workspace.root.join("fuzz/corpus").join(target)
    }

    /// Writes what the targets begin with to where libFuzzer reads.
    fn seed(&self) -> Outcome {
        let arguments =
            ["run", "--quiet", "--locked", "--package", "hikyaku-fuzz-bodies", "--bin", "seeds", "--"];
        must(self.workspace.cargo(&arguments).arg(self.place.join("corpus")))
    }

    fn command(&self, target: &str) -> Command {
        let mut command = self.workspace.command(self.binaries().join(target));
        command.arg(format!("-max_len={LONGEST}")).arg(format!("-rss_limit_mb={MEGABYTES}"));
        command
    }

    /// One run of libFuzzer. What it says is shown when it found something, and its last lines always count.
    fn run(&self, target: &str, seconds: u64) -> Outcome<Report> {
        let findings = self.place.join("findings").join(target);
        make(&findings)?;
        make(&self.corpus(target))?;
        let mut command = self.command(target);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={SECONDS_FOR_ONE}"))
            .arg(format!("-artifact_prefix={}/", findings.display()))
            .args(["-print_final_stats=1", "-use_value_profile=1"])
            .arg(self.corpus(target))
            .arg(self.kept(target));
        let done = command.output().map_err(|error| format!("{target} could not be started: {error}"))?;
        let said = String::from_utf8_lossy(&done.stderr);
        let mut report = Report::read(&said);
        if !done.status.success() && report.finding.is_none() {
            report.finding = Some(format!("it ended with {}", done.status));
        }
        if report.finding.is_some() {
            println!("{said}");
        }
        Ok(report)
    }

    /// Puts into the repository some of the fewest inputs that reach everything that was reached: as many as there is
    /// room for, of every length.
    fn keep(&self, target: &str) -> Outcome {
        let fresh = self.place.join("merged").join(target);
        let _ = std::fs::remove_dir_all(&fresh);
        make(&fresh)?;
        let mut command = self.command(target);
        command.arg("-set_cover_merge=1").arg(&fresh).arg(self.kept(target)).arg(self.corpus(target));
        output(&mut command)?;
        let kept = inputs(&self.kept(target))?;
        let mut units = inputs(&fresh)?;
        units.retain(|(_, bytes)| !kept.iter().any(|(_, there)| there == bytes));
        units.sort_by_key(|(_, bytes)| bytes.len());
        let room = MOST_UNITS.saturating_sub(kept.len()).min(units.len());
        let mut together: usize = kept.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut added = 0;
        for number in 0..room {
            let (name, bytes) = &units[number * units.len() / room];
            together += bytes.len();
            if together > MOST_KEPT {
                break;
            }
            let name: String = name.chars().take(12).collect();
            let place = self.kept(target).join(name);
            std::fs::write(&place, bytes).map_err(|error| format!("{}: {error}", place.display()))?;
            added += 1;
        }
        println!("{target}: {added} of {} new inputs are in fuzz/corpus now", units.len());
        Ok(())
    }
}

impl Report {
    /// Takes libFuzzer's own words apart.
    fn read(said: &str) -> Self {
        let mut report = Self::default();
        for line in said.lines() {
            let mut words = line.split_whitespace();
            if let Some(rest) = line.strip_prefix("stat::") {
                let number = || rest.split_whitespace().next_back().and_then(|word| word.parse().ok());
                match rest.split(':').next() {
                    Some("number_of_executed_units") => report.executions = number().unwrap_or(0),
                    Some("average_exec_per_sec") => report.a_second = number().unwrap_or(0),
                    Some("peak_rss_mb") => report.megabytes = number().unwrap_or(0),
                    _ => {}
                }
            } else if line.starts_with('#') {
                while let Some(word) = words.next() {
                    let mut number = || words.next().and_then(|word| word.split('/').next()?.parse().ok());
                    match word {
                        "cov:" => report.edges = number().unwrap_or(report.edges),
                        "ft:" => report.features = number().unwrap_or(report.features),
                        "corp:" => report.units = number().unwrap_or(report.units),
                        _ => {}
                    }
                }
            } else if let Some((_, place)) = line.split_once("Test unit written to ") {
                report.finding = Some(place.to_owned());
            }
        }
        report
    }
}

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn make(directory: &Path) -> Outcome {
    std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))
}

fn files(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let cannot = |error| format!("{} could not be listed: {error}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        files.push(entry.map_err(cannot)?.path());
    }
    files.sort();
    Ok(files)
}

/// The files of a directory, by their names.
fn inputs(directory: &Path) -> Outcome<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for file in files(directory)? {
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        inputs.push((file.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_read() {
        let said = "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                    #524288\tpulse  cov: 31 ft: 40 corp: 12/99b lim: 4096 exec/s: 262144 rss: 35Mb\n\
                    stat::number_of_executed_units: 600000\nstat::average_exec_per_sec:     250000\n\
                    stat::peak_rss_mb:              36\n";
        let expected = Report {
            executions: 600_000,
            a_second: 250_000,
            edges: 31,
            features: 40,
            units: 12,
            megabytes: 36,
            finding: None,
        };
        assert_eq!(Report::read(said), expected);
        let failed = "artifact_prefix='x/'; Test unit written to x/crash-1\nBase64: AA==\n";
        assert_eq!(Report::read(failed).finding.as_deref(), Some("x/crash-1"));
    }

    #[test]
    fn the_arguments_are_read_and_wrong_ones_are_named() {
        let read =
            |arguments: &[&str]| Wish::read(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        let wish = read(&["--minutes", "0.5", "--target", "tree,varint", "--keep"]).unwrap();
        assert_eq!((wish.seconds, wish.targets.len(), wish.keep, wish.list), (30, 2, true, false));
        assert!(read(&["--minutes", "long"]).is_err_and(|sentence| sentence.contains("`long`")));
        assert!(read(&["--target"]).is_err());
        assert!(read(&["--fast"]).is_err_and(|sentence| sentence.contains("`--fast`")));
    }
}
