//! The client's home: which servers this computer knows, and a key and a store for each.
//!
//! ```text
//! HIKYAKU_HOME/
//!   default                 the name of the server meant when none is named
//!   servers/NAME/           server.json, identity.pem (the device key), server.sqlite (the client's store)
//!   joining/HOST-ID/        the device key of a join that has not succeeded yet
//!   server/                 the data of `hikyaku serve` on this computer
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hikyaku::{Identity, KeyId};
use hikyaku_sqlite::client::ClientStore;
use serde::{Deserialize, Serialize};

use crate::exit::{self, Exit, Result, Trouble};

/// Everything a client keeps, below one directory.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    root: PathBuf,
}

/// What `server.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// What this computer calls the server.
    pub(crate) name: String,
    /// Where it is: `HOST:PORT[,HOST:PORT…]`.
    pub(crate) addresses: String,
    /// The key that it must prove.
    pub(crate) host: String,
    /// Who this computer's user is there.
    pub(crate) user: String,
    /// What this computer is called there.
    pub(crate) device: String,
}

/// One known server with its directory.
#[derive(Debug, Clone)]
pub(crate) struct KnownServer {
    pub(crate) known: Known,
    directory: PathBuf,
}

impl Home {
    /// `HIKYAKU_HOME`, or the place where this system keeps a user's data.
    pub(crate) fn find() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("HIKYAKU_HOME")
            .or_else(|| set("XDG_DATA_HOME").map(|data| data.join("hikyaku")))
            .or_else(|| set("HOME").map(|home| home.join(".local/share/hikyaku")));
        let root = root.ok_or_else(|| {
            Trouble::usage("there is no home directory").hint("set HIKYAKU_HOME to a directory of yours")
        })?;
        Ok(Self { root })
    }

    /// A home at this path.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where `hikyaku serve` keeps its data unless told otherwise.
    pub(crate) fn server_data(&self) -> PathBuf {
        self.root.join("server")
    }

    /// All known servers, by name.
    pub(crate) fn servers(&self) -> Result<Vec<KnownServer>> {
        let directory = self.root.join("servers");
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| exit::io(directory.display(), &error))?,
        };
        let mut servers = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| exit::io(directory.display(), &error))?.path();
            match fs::read(path.join("server.json")) {
                Ok(json) => servers.push(KnownServer::read(path, &json)?),
                // A directory in the making, or something else.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(exit::io(path.display(), &error)),
            }
        }
        servers.sort_by(|a, b| a.known.name.cmp(&b.known.name));
        Ok(servers)
    }

    /// The server that is meant: the one named, or the default, or the only one.
    pub(crate) fn server(&self, named: Option<&str>) -> Result<KnownServer> {
        let mut servers = self.servers()?;
        let names = || servers.iter().map(|server| server.known.name.as_str()).collect::<Vec<_>>().join(", ");
        if let Some(name) = named {
            return match servers.iter().position(|server| server.known.name == name) {
                Some(at) => Ok(servers.swap_remove(at)),
                None => Err(Trouble::new(
                    Exit::NotFound,
                    format!("no server is known here as '{}'", hikyaku::printable(name)),
                )
                .hint(format!("known: {}", if servers.is_empty() { "none".to_owned() } else { names() }))),
            };
        }
        if servers.is_empty() {
            return Err(Trouble::new(Exit::NotFound, "this computer knows no server yet")
                .hint("type 'hikyaku join' and paste an invite link, or 'hikyaku serve' to run a server"));
        }
        let default = fs::read_to_string(self.root.join("default")).unwrap_or_default();
        if let Some(at) = servers.iter().position(|server| server.known.name == default.trim()) {
            return Ok(servers.swap_remove(at));
        }
        if servers.len() > 1 {
            let hint = format!("choose with --server NAME or 'hikyaku server use NAME': {}", names());
            return Err(Trouble::usage("several servers are known, and none is the default").hint(hint));
        }
        Ok(servers.swap_remove(0))
    }

    /// Makes this the server that is meant when none is named.
    pub(crate) fn set_default(&self, name: &str) -> Result {
        self.make_directory(&self.root)?;
        write_whole(&self.root.join("default"), format!("{name}\n").as_bytes())
    }

    /// The device key for a host that is being joined: the same again after a failed attempt.
    pub(crate) fn joining(&self, host: KeyId) -> Result<Identity> {
        let directory = self.root.join("joining").join(host.to_string());
        self.make_directory(&directory)?;
        Ok(Identity::load_or_generate(directory.join("identity.pem"))?)
    }

    /// A join succeeded: the server is known from now on, under a name that is free.
    pub(crate) fn joined(&self, mut known: Known) -> Result<KnownServer> {
        let servers = self.servers()?;
        let wanted = known.name.clone();
        let taken = |name: &str| servers.iter().any(|server| server.known.name == name);
        let mut number = 2;
        while taken(&known.name) {
            known.name = format!("{wanted}-{number}");
            number += 1;
        }
        let parent = self.root.join("servers");
        self.make_directory(&parent)?;
        let (from, to) = (self.root.join("joining").join(&known.host), parent.join(&known.name));
        let json =
            serde_json::to_vec_pretty(&known).map_err(|error| exit::io("server.json", &error.into()))?;
        write_whole(&from.join("server.json"), &json)?;
        // The directory appears whole, with its key, or not at all.
        fs::rename(&from, &to).map_err(|error| exit::io(to.display(), &error))?;
        sync_directory(&parent)?;
        if servers.is_empty() {
            self.set_default(&known.name)?;
        }
        Ok(KnownServer { known, directory: to })
    }

    fn make_directory(&self, path: &Path) -> Result {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| exit::io(path.display(), &error))
    }
}

impl KnownServer {
    fn read(directory: PathBuf, json: &[u8]) -> Result<Self> {
        let known = serde_json::from_slice(json).map_err(|error| {
            Trouble::new(Exit::Corrupt, format!("{}: {error}", directory.join("server.json").display()))
                .hint("move that directory away and join the server again")
        })?;
        Ok(Self { known, directory })
    }

    /// The key that the server must prove.
    pub(crate) fn host(&self) -> Result<KeyId> {
        self.known.host.parse().map_err(|error| {
            Trouble::new(Exit::Corrupt, format!("{}: {error}", self.directory.join("server.json").display()))
        })
    }

    /// This computer's key for this server.
    pub(crate) fn identity(&self) -> Result<Identity> {
        Ok(Identity::load(self.directory.join("identity.pem"))?)
    }

    /// What this computer remembers of the server.
    pub(crate) fn store(&self) -> Result<ClientStore> {
        Ok(ClientStore::open(&self.directory)?)
    }

    /// Forgets the server, its key included.
    pub(crate) fn forget(self) -> Result {
        fs::remove_dir_all(&self.directory).map_err(|error| exit::io(self.directory.display(), &error))
    }
}

/// Writes a small file so that readers see the old one or the new one, whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result {
    let temporary = path.with_extension(format!("new.{}", std::process::id()));
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|error| exit::io(path.display(), &error))?;
    // The parent of a bare file name is empty and means here.
    path.parent().map_or(Ok(()), |parent| {
        sync_directory(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
    })
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result {
    let synced = fs::File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| exit::io(path.display(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(home: &Home, name: &str) -> KnownServer {
        let host = Identity::generate().unwrap().id();
        home.joining(host).unwrap();
        let (user, device) = ("ana".to_owned(), "laptop".to_owned());
        let addresses = "127.0.0.1:4747".to_owned();
        home.joined(Known { name: name.to_owned(), addresses, host: host.to_string(), user, device }).unwrap()
    }

    #[test]
    fn the_first_server_is_the_default_and_a_second_of_its_name_gets_a_number() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path());
        assert_eq!(home.server(None).unwrap_err().exit, Exit::NotFound);
        join(&home, "home");
        assert_eq!(join(&home, "home").known.name, "home-2");
        assert_eq!(home.server(None).unwrap().known.name, "home");
        assert_eq!(home.server(Some("home-2")).unwrap().known.name, "home-2");
        assert_eq!(home.server(Some("other")).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn a_failed_join_is_repeated_with_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path());
        let host = Identity::generate().unwrap().id();
        assert_eq!(home.joining(host).unwrap().id(), home.joining(host).unwrap().id());
    }

    #[test]
    fn without_a_default_several_servers_must_be_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path());
        join(&home, "a");
        join(&home, "b");
        home.server(Some("a")).unwrap().forget().unwrap();
        assert_eq!(home.server(None).unwrap().known.name, "b", "the only one is meant");
        join(&home, "c");
        assert_eq!(home.server(None).unwrap_err().exit, Exit::Usage);
        home.set_default("c").unwrap();
        assert_eq!(home.server(None).unwrap().known.name, "c");
    }
}
