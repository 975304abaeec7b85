//! `hikyaku doctor`: is everything there that was acknowledged, and what to do if not.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::doctor::{Finding, State, examine};
use crate::exit::{Exit, Result, Trouble};
use crate::home::Home;
use crate::output::{self, JSON_VERSION};

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The server's data directory; the server may be running
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Read and hash every stored file, too, and name what has decayed: file and bytes
    #[arg(long, alias = "objects")]
    scrub: bool,
    /// One JSON object per finding
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    v: u32,
    r#type: &'static str,
    check: &'static str,
    state: &'static str,
    says: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

impl Doctor {
    pub(crate) async fn run(self) -> Result {
        let data = match self.data {
            Some(data) => data,
            None => Home::find()?.server_data(),
        };
        if !data.is_dir() {
            return Err(Trouble::new(Exit::NotFound, format!("there is no directory {}", data.display()))
                .hint("name the server's data directory with --data DIR"));
        }
        let found = examine(&data, hikyaku_accounts::system_time(), self.scrub).await;
        found.0.iter().try_for_each(|finding| print(finding, self.json))?;
        match found.worst() {
            State::Ok => Ok(()),
            State::Warning => {
                Err(Trouble::new(Exit::Failed, "something needs attention; nothing is damaged"))
            }
            State::Damaged => Err(Trouble::new(Exit::Corrupt, "the data directory is damaged")),
        }
    }
}

fn print(finding: &Finding, json: bool) -> Result {
    let Finding { check, state, says, hint } = finding;
    if json {
        let (v, r#type, state) = (JSON_VERSION, "finding", state.name());
        return output::json(&JsonFinding { v, r#type, check, state, says, hint: *hint });
    }
    output::line(format_args!("{:<8} {check:<9} {}", state.name(), hikyaku::printable(says)))?;
    hint.map_or(Ok(()), |hint| output::line(format_args!("{:<18} {hint}", "")))
}
