//! `hikyaku server`: the servers that this computer knows.

use clap::Subcommand;
use serde::Serialize;

use crate::exit::Result;
use crate::home::Home;
use crate::output::{self, JSON_VERSION};

#[derive(Debug, Subcommand)]
pub(crate) enum Servers {
    /// Show the known servers; the default has a star
    List {
        /// One JSON object per server
        #[arg(long)]
        json: bool,
    },
    /// Make a server the default
    Use {
        /// Its name
        name: String,
    },
    /// Forget a server and the key for it; joining again takes a new invite
    Forget {
        /// Its name
        name: String,
    },
}

#[derive(Serialize)]
struct JsonServer {
    v: u32,
    r#type: &'static str,
    name: String,
    addresses: String,
    host: String,
    user: String,
    device: String,
    default: bool,
}

impl Servers {
    pub(crate) fn run(self) -> Result {
        let home = Home::find()?;
        match self {
            Self::List { json } => list(&home, json),
            Self::Use { name } => {
                let server = home.server(Some(&name))?;
                home.set_default(&server.known.name)
            }
            Self::Forget { name } => home.server(Some(&name))?.forget(),
        }
    }
}

fn list(home: &Home, json: bool) -> Result {
    let default = home.server(None).ok().map(|server| server.known.name);
    for server in home.servers()? {
        let known = server.known;
        let default = default.as_ref() == Some(&known.name);
        if json {
            output::json(&JsonServer {
                v: JSON_VERSION,
                r#type: "server",
                default,
                name: known.name,
                addresses: known.addresses,
                host: known.host,
                user: known.user,
                device: known.device,
            })?;
        } else {
            let star = if default { '*' } else { ' ' };
            output::line(format_args!(
                "{star} {}  {} at {}",
                known.name,
                hikyaku::printable(&known.user),
                known.addresses
            ))?;
        }
    }
    Ok(())
}
