//! The server of a run and what lies under it: started, killed, cut off from its power. The same for every proof.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::power::{Clock, Disk};
use crate::program::{Program, hikyaku, serve};

/// A server, and the homes of its users beside it. Dropped in this order: the server, what it goes by, its disk.
pub(crate) struct Host {
    binary: PathBuf,
    home: PathBuf,
    arguments: Vec<OsString>,
    /// What it logs, where that is not the usual.
    log: Option<&'static str>,
    address: String,
    server: Option<Program>,
    pub(crate) clock: Option<Clock>,
    pub(crate) disk: Option<Disk>,
}

impl Host {
    /// A server that is not started yet: everything of it will be in `home`.
    pub(crate) fn new(binary: &Path, home: &Path, seed: u64) -> Self {
        // A loopback address of its own keeps the port free while the server is down.
        let [.., high, low] = std::process::id().to_be_bytes();
        Self {
            binary: binary.to_owned(),
            home: home.to_owned(),
            arguments: Vec::new(),
            log: None,
            address: format!("127.{}.{low}.{}:0", high.max(1), 1 + seed % 250),
            server: None,
            clock: None,
            disk: None,
        }
    }

    /// It is started with these arguments, too.
    pub(crate) fn arguments(&mut self, more: impl IntoIterator<Item = impl Into<OsString>>) {
        self.arguments.extend(more.into_iter().map(Into::into));
    }

    /// It logs what this asks for.
    pub(crate) fn logs(&mut self, filter: &'static str) {
        self.log = Some(filter);
    }

    /// What its log has.
    pub(crate) fn log(&self) -> String {
        fs::read(self.home.join("server.log"))
            .map_or(String::new(), |log| String::from_utf8_lossy(&log).into_owned())
    }

    /// Where the server keeps everything: on its disk, if it has one of its own.
    pub(crate) fn base(&self) -> &Path {
        self.disk.as_ref().map_or(&self.home, |disk| &disk.path)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.base().join("data")
    }

    pub(crate) fn serve(&mut self) -> Result<(), String> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(self.data()).args(["--listen", &self.address]);
        command.arg("--invite-file").arg(self.home.join("invite")).args(&self.arguments);
        if let Some(filter) = self.log {
            command.env("HIKYAKU_LOG", filter);
        }
        let log = fs::File::options().append(true).create(true).open(self.home.join("server.log"));
        command.stderr(log.map_err(|error| error.to_string())?);
        if let Some(clock) = &self.clock {
            clock.apply(&mut command);
        }
        let (server, address) = serve(command)?;
        (self.server, self.address) = (Some(server), address);
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.server.as_mut().map_or(Ok(()), Program::kill)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        self.server.as_ref().map_or(Ok(()), |server| server.signal(signal))
    }

    /// The power fails, and the disk comes back with everything that was durable. The server is gone then.
    pub(crate) fn cut(&mut self) -> Result<(), String> {
        // Stopped first: without power nobody says anything any more, not even that the disk has failed, and a sync that is
        // under way while a file system goes down may come back as if it were done.
        self.server.as_ref().map_or(Ok(()), Program::stop)?;
        if let Some(disk) = &self.disk {
            disk.cut()?;
        }
        self.kill()?;
        self.disk.as_mut().map_or(Ok(()), Disk::heal)
    }

    /// Everybody joins; the first is the owner.
    pub(crate) fn join(&self, everybody: &[String]) -> Result<(), String> {
        let Some((owner, others)) = everybody.split_first() else { return Ok(()) };
        let invite = fs::read_to_string(self.home.join("invite")).map_err(|error| error.to_string())?;
        let join =
            |who: &str, link: &str| self.once(who, &["join", "-", "--name", who, "--device", "d"], link);
        join(owner, &invite)?;
        if others.is_empty() {
            return Ok(());
        }
        let link = self.once(owner, &["invite", "create", "--uses", &everybody.len().to_string()], "")?;
        others.iter().try_for_each(|who| join(who, &link).map(drop))
    }

    /// A device is removed by the operator; done when this returns.
    pub(crate) fn revoke(&self, owner: &str, who: &str) -> Result<(), String> {
        let data = self.data();
        let data = data.to_str().ok_or("the path is no text")?;
        self.once(owner, &["user", "revoke", who, "--data", data], "").map(drop)
    }

    /// Where somebody's home is.
    pub(crate) fn of(&self, who: &str) -> PathBuf {
        self.home.join(who)
    }

    /// Somebody types a command; what it printed.
    pub(crate) fn once(&self, who: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        hikyaku(&self.binary, &self.of(who), arguments, input)
    }
}
