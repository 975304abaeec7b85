//! `hikyaku restore`: a data directory from a backup. Every room begins a new epoch, by which clients notice.

use std::path::PathBuf;

use clap::Args;

use super::backup::JsonBackup;
use super::blocking;
use crate::archive;
use crate::exit::Result;
use crate::home::Home;
use crate::output;
use crate::time;

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file that 'hikyaku backup' wrote
    file: PathBuf,
    /// The data directory to make
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Move what is there aside, and keep it under another name
    #[arg(long)]
    replace: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(crate) async fn run(self) -> Result {
        let data = match self.data {
            Some(data) => data,
            None => Home::find()?.server_data(),
        };
        let (from, to, replace) = (self.file, data.clone(), self.replace);
        let now = hikyaku_accounts::system_time();
        let (summary, aside) = blocking(move || archive::restore(&from, &to, replace, now)).await?;
        let aside = aside.map(|path| path.display().to_string());
        let json = JsonBackup::new("restored", data.display().to_string(), summary);
        if self.json {
            return output::json(&json.restored(summary.epoch, aside));
        }
        output::line(format_args!("restored: {} ({})", data.display(), json.describe()))?;
        let created = time::local(summary.created_ms);
        output::note(format_args!(
            "it is as it was at {created}: what was said since is gone, and clients drop it;"
        ));
        output::note(
            "devices, users and invites are as they were then too: revoke again what was revoked since",
        );
        if let Some(aside) = aside {
            output::note(format_args!("what was there is now {aside}"));
        }
        Ok(())
    }
}
