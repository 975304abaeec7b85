//! `hikyaku invite`: links that let others in.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hikyaku::{Connection, Transport};
use hikyaku_accounts::{AccountsClient, Address};
use hikyaku_wire::accounts::CreateInvite;
use serde::Serialize;

use crate::args::{Global, duration};
use crate::client::Client;
use crate::exit::{Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::server::connect_admin;
use crate::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Invite {
    /// Print a new invite link, and nothing else
    Create {
        /// How many devices may use it
        #[arg(long, value_name = "N")]
        uses: Option<u32>,
        /// How long it is valid
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        ttl: Duration,
        /// What its users become: owner or member
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        #[command(flatten)]
        via: Via,
    },
    /// Show the invites that are still open
    List {
        /// One JSON object per invite
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        via: Via,
    },
    /// End an invite
    Cancel {
        /// Its id, as the list shows it
        id: String,
        #[command(flatten)]
        via: Via,
    },
}

/// By which door a request about accounts goes in.
#[derive(Debug, Args)]
pub(crate) struct Via {
    /// Ask the server that runs on this data directory, as its operator, instead of over the network
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Via {
    /// A connection to the server.
    pub(crate) async fn connection(&self, global: &Global, server: Option<&str>) -> Result<Connection> {
        match &self.data {
            Some(data) => connect_admin(data).await,
            None => Client::of(global, server)?.connected().await,
        }
    }

    /// A client for accounts, with the addresses under which the server is known here.
    pub(crate) async fn accounts(
        &self,
        global: &Global,
    ) -> Result<(AccountsClient, Connection, Vec<Address>)> {
        let (connection, own) = match &self.data {
            Some(data) => (connect_admin(data).await?, Vec::new()),
            None => {
                let client = Client::of(global, None)?;
                let own =
                    hikyaku_accounts::split_addresses(&client.server.known.addresses).unwrap_or_default();
                (client.connected().await?, own)
            }
        };
        Ok((AccountsClient::new(connection.clone()), connection, own))
    }
}

#[derive(Serialize)]
struct JsonInvite {
    v: u32,
    r#type: &'static str,
    id: String,
    role: String,
    uses_left: u32,
    uses: u32,
    created: String,
    expires: String,
    by: Option<String>,
    device_of: Option<String>,
}

impl Invite {
    pub(crate) async fn run(self, global: &Global) -> Result {
        match self {
            Self::Create { uses, ttl, role, via } => {
                let (accounts, connection, own) = via.accounts(global).await?;
                let ttl_ms = u64::try_from(ttl.as_millis()).ok();
                let link = accounts.create_invite(&CreateInvite { uses, ttl_ms, role }, &own).await;
                let link = link.map_err(|error| explain(error, connection.transport()))?;
                connection.close().await;
                output::line(link)
            }
            Self::List { json, via } => {
                let (accounts, connection, _) = via.accounts(global).await?;
                let mut invites = accounts.invites().await?;
                connection.close().await;
                // The server keeps those that are over for a while: somebody may have to repeat a request.
                let now = hikyaku_accounts::system_time();
                invites.retain(|invite| invite.uses_left > 0 && now < invite.expires_ms);
                invites.iter().try_for_each(|invite| print(invite, json))
            }
            Self::Cancel { id, via } => {
                let id = hikyaku_accounts::parse_invite_id(&id).map_err(|error| {
                    Trouble::usage(error.to_string()).hint("'hikyaku invite list' shows the ids")
                })?;
                let (accounts, connection, _) = via.accounts(global).await?;
                accounts.cancel_invite(id).await?;
                connection.close().await;
                Ok(())
            }
        }
    }
}

/// Members may not invite; they may ask, or the operator may.
fn explain(error: hikyaku::Error, transport: Transport) -> Trouble {
    let denied = error.code() == hikyaku::ErrorCode::DENIED && transport != Transport::Local;
    let trouble = Trouble::from(error);
    if denied {
        trouble.hint("ask an owner of the server, or use --data DIR on the server's computer")
    } else {
        trouble
    }
}

fn print(invite: &hikyaku_wire::accounts::Invite, json: bool) -> Result {
    let id = hikyaku_accounts::invite_text(invite.id);
    if json {
        return output::json(&JsonInvite {
            v: JSON_VERSION,
            r#type: "invite",
            id,
            role: invite.role.clone(),
            uses_left: invite.uses_left,
            uses: invite.uses,
            created: time::utc(invite.created_ms),
            expires: time::utc(invite.expires_ms),
            by: invite.by.map(|user| user.to_string()),
            device_of: invite.user.map(|user| user.to_string()),
        });
    }
    let what = if invite.user.is_some() { "another device" } else { "a new" };
    output::line(format_args!(
        "{id}  {what} {}  {} of {} uses left  until {}",
        hikyaku::printable(&invite.role),
        invite.uses_left,
        invite.uses,
        time::local(invite.expires_ms)
    ))
}
