//! `hikyaku user`: the users of a server.

use clap::Subcommand;
use hikyaku::printable;
use serde::Serialize;

use super::invite::Via;
use crate::args::Global;
use crate::exit::{Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::time;

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Show the users of the server
    List {
        /// One JSON object per user
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        via: Via,
    },
    /// Remove a user with all devices; only on the server's computer, with --data DIR
    Revoke {
        /// The user's name, '@' in front or not
        name: String,
        #[command(flatten)]
        via: Via,
    },
}

#[derive(Serialize)]
struct JsonUser {
    v: u32,
    r#type: &'static str,
    id: String,
    name: String,
    roles: Vec<String>,
    joined: String,
}

impl User {
    pub(crate) async fn run(self, global: &Global) -> Result {
        match self {
            Self::List { json, via } => {
                let (accounts, connection, _) = via.accounts(global).await?;
                let users = accounts.users().await?;
                connection.close().await;
                users.iter().try_for_each(|user| print(user, json))
            }
            Self::Revoke { name, via } => {
                let name = name.strip_prefix('@').unwrap_or(&name);
                let (accounts, connection, _) = via.accounts(global).await?;
                let users = accounts.users().await?;
                let user = users.iter().find(|user| user.name == name).ok_or_else(|| {
                    Trouble::new(Exit::NotFound, format!("there is no user '{}'", printable(name)))
                        .hint("'hikyaku user list' shows the users")
                })?;
                let revoked = accounts.revoke_user(user.id).await.map_err(|error| {
                    let denied = error.code() == hikyaku::ErrorCode::DENIED;
                    let trouble = Trouble::from(error);
                    if denied {
                        trouble.hint("only the operator may: add --data DIR on the server's computer")
                    } else {
                        trouble
                    }
                })?;
                connection.close().await;
                output::line(format_args!(
                    "revoked: {} devices, {} open invites",
                    revoked.devices.len(),
                    revoked.invites
                ))
            }
        }
    }
}

fn print(user: &hikyaku_wire::accounts::User, json: bool) -> Result {
    if json {
        return output::json(&JsonUser {
            v: JSON_VERSION,
            r#type: "user",
            id: user.id.to_string(),
            name: user.name.clone(),
            roles: user.roles.clone(),
            joined: time::utc(user.created_ms),
        });
    }
    let roles: Vec<_> = user.roles.iter().map(|role| printable(role).to_string()).collect();
    output::line(format_args!(
        "{}  {}  since {}",
        printable(&user.name),
        roles.join(", "),
        time::local(user.created_ms)
    ))
}
