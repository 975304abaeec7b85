//! `--keylog` and `--record`: looking at what connections carry, of every command that makes or takes some.

use std::path::PathBuf;

use clap::Args;
use hikyaku::{Connect, KeyLog, Recording};

use crate::exit::Result;
use crate::output;

/// Options of every command; nothing is written unless one is given, whatever the environment says.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SeeingOptions {
    /// Append the connections' secrets to this file (mode 0600), with which Wireshark decrypts what was captured
    #[arg(long, global = true, value_name = "FILE", help_heading = crate::args::COMMON)]
    keylog: Option<PathBuf>,
    /// Record everything the connections carry, decrypted, in this new file (mode 0600), for 'hikyaku inspect'
    #[arg(long, global = true, value_name = "FILE", help_heading = crate::args::COMMON)]
    record: Option<PathBuf>,
}

/// Where it goes. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seeing {
    pub(crate) key_log: Option<KeyLog>,
    pub(crate) recording: Option<Recording>,
}

impl SeeingOptions {
    /// Opens the files, and says what they mean: once, because a command does it once.
    pub(crate) fn open(&self) -> Result<Seeing> {
        let mut seeing = Seeing::default();
        if let Some(path) = &self.keylog {
            seeing.key_log = Some(KeyLog::to_file(path)?);
            output::note(format_args!(
                "warning: secrets are written to {}; whoever reads it can read everything these connections carry",
                path.display()
            ));
        }
        if let Some(path) = &self.record {
            seeing.recording = Some(Recording::to_file(path)?);
            output::note(format_args!(
                "warning: everything these connections carry is written to {}, decrypted",
                path.display()
            ));
        }
        Ok(seeing)
    }
}

impl Seeing {
    /// A client that is looked at.
    pub(crate) fn watch(&self, mut connect: Connect) -> Connect {
        if let Some(keys) = &self.key_log {
            connect = connect.key_log(keys);
        }
        if let Some(recording) = &self.recording {
            connect = connect.record(recording);
        }
        connect
    }
}
