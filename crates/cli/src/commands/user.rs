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
    /// Allow a user more than the role permits: 'drop' to put files into the server's directory, 'replace' to replace
    /// what lies there; only an owner may
    Allow {
        /// The user's name, '@' in front or not
        name: String,
        /// What
        #[arg(value_enum)]
        what: Grant,
        #[command(flatten)]
        via: Via,
    },
    /// Take back what was allowed
    Forbid {
        /// The user's name, '@' in front or not
        name: String,
        /// What
        #[arg(value_enum)]
        what: Grant,
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

/// What can be allowed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Grant {
    /// Put files into the server's directory
    Drop,
    /// Replace what lies there
    Replace,
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
            Self::Allow { name, what, via } => grant(global, &via, &name, what, true).await,
            Self::Forbid { name, what, via } => grant(global, &via, &name, what, false).await,
            Self::Revoke { name, via } => {
                let (accounts, connection, _) = via.accounts(global).await?;
                let user = named(accounts.users().await?, &name)?;
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

async fn grant(global: &Global, via: &Via, name: &str, what: Grant, granted: bool) -> Result {
    let (accounts, connection, _) = via.accounts(global).await?;
    let user = named(accounts.users().await?, name)?;
    let what = match what {
        Grant::Drop => "drop",
        Grant::Replace => "replace",
    };
    accounts.grant(user.id, what, granted).await?;
    connection.close().await;
    let does = if granted { "may" } else { "no longer may" };
    output::line(format_args!("{} {does}: {what}", printable(&user.name)))
}

fn named(users: Vec<hikyaku_wire::accounts::User>, name: &str) -> Result<hikyaku_wire::accounts::User> {
    let name = name.strip_prefix('@').unwrap_or(name);
    users.into_iter().find(|user| user.name == name).ok_or_else(|| {
        Trouble::new(Exit::NotFound, format!("there is no user '{}'", printable(name)))
            .hint("'hikyaku user list' shows the users")
    })
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
