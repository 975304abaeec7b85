//! `hikyaku backup`: everything a server keeps, in one file, while it runs.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::blocking;
use crate::archive::{self, Summary};
use crate::exit::{self, Exit, Result};
use crate::home::Home;
use crate::output::{self, JSON_VERSION};
use crate::server;
use crate::time;

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write; it must not exist
    file: PathBuf,
    /// The server's data directory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints, also for a restoration.
#[derive(Serialize)]
pub(super) struct JsonBackup {
    v: u32,
    r#type: &'static str,
    path: String,
    created: String,
    rooms: u64,
    events: u64,
    objects: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<String>,
}

impl JsonBackup {
    pub(super) fn new(r#type: &'static str, path: String, summary: Summary) -> Self {
        let Summary { created_ms, rooms, events, objects, bytes, .. } = summary;
        let created = time::utc(created_ms);
        let (epoch, replaced) = (None, None);
        Self { v: JSON_VERSION, r#type, path, created, rooms, events, objects, bytes, epoch, replaced }
    }

    pub(super) fn restored(mut self, epoch: u32, replaced: Option<String>) -> Self {
        self.epoch = Some(epoch);
        self.replaced = replaced;
        self
    }

    /// What it holds, for a person.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} rooms, {} events, {} files of {} bytes",
            self.rooms, self.events, self.objects, self.bytes
        )
    }
}

impl Backup {
    pub(crate) async fn run(self) -> Result {
        let data = match self.data {
            Some(data) => data,
            None => Home::find()?.server_data(),
        };
        // The server may stand in another directory.
        let to = std::path::absolute(&self.file).map_err(|error| exit::io(self.file.display(), &error))?;
        let summary = match server::connect_admin(&data).await {
            Ok(connection) => {
                let done = server::backup(&connection, &to).await;
                connection.close().await;
                done?
            }
            Err(trouble) if trouble.exit == Exit::Unreachable => {
                let to = to.clone();
                let now = hikyaku_accounts::system_time();
                blocking(move || archive::write_stopped(&data, &to, now)).await?
            }
            Err(trouble) => return Err(trouble),
        };
        let json = JsonBackup::new("backup", self.file.display().to_string(), summary);
        if self.json {
            return output::json(&json);
        }
        output::line(format_args!("backup: {} ({})", self.file.display(), json.describe()))?;
        output::note("it holds the host key and everything said: keep it as you would a password;");
        output::note("transfers on their way and the directory of 'serve --into' are not in it");
        Ok(())
    }
}
