//! Who belongs to a room.

use clap::Subcommand;
use hikyaku::printable;
use hikyaku_accounts::{AccountsClient, system_time};
use hikyaku_chat::fresh_id;
use hikyaku_wire::chat::{Change, ChangeMember, MemberRole, UserId};
use serde::Serialize;

use super::Open;
use crate::args::Global;
use crate::commands::random;
use crate::exit::{Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Membership {
    /// Belong to a room
    Join {
        /// The room
        room: String,
    },
    /// Belong to a room no longer
    Leave {
        /// The room
        room: String,
    },
    /// Let somebody join a private room
    Invite {
        /// The room
        room: String,
        /// Who: '@name'
        user: String,
    },
    /// Send somebody away
    Remove {
        /// The room
        room: String,
        /// Who: '@name'
        user: String,
    },
    /// Make a member owner, moderator or member
    Role {
        /// The room
        room: String,
        /// Who: '@name'
        user: String,
        /// What they become
        #[arg(value_parser = role)]
        role: MemberRole,
    },
    /// Show who belongs to a room
    Members {
        /// The room
        room: String,
        /// One JSON object per member
        #[arg(long)]
        json: bool,
    },
}

fn role(text: &str) -> Result<MemberRole, String> {
    let role = MemberRole::of_name(text).filter(|role| *role != MemberRole::Invited);
    role.ok_or_else(|| "a role is owner, moderator or member".to_owned())
}

#[derive(Serialize)]
struct JsonMember {
    v: u32,
    r#type: &'static str,
    user: String,
    name: String,
    role: &'static str,
    since: String,
}

impl Membership {
    pub(super) async fn run(self, global: &Global) -> Result {
        match self {
            Self::Join { room } => change(global, &room, Change::Join, None, None).await,
            Self::Leave { room } => change(global, &room, Change::Leave, None, None).await,
            Self::Invite { room, user } => change(global, &room, Change::Invite, Some(&user), None).await,
            Self::Remove { room, user } => change(global, &room, Change::Leave, Some(&user), None).await,
            Self::Role { room, user, role } => {
                change(global, &room, Change::Role, Some(&user), Some(role)).await
            }
            Self::Members { room, json } => list(global, &room, json).await,
        }
    }
}

async fn change(
    global: &Global,
    room: &str,
    change: Change,
    user: Option<&str>,
    role: Option<MemberRole>,
) -> Result {
    let open = Open::room(global, room).await?;
    let user = match user {
        Some(name) => Some(find(&open, name, change == Change::Leave).await?),
        None => None,
    };
    let ask = ChangeMember { room: open.named(), id: fresh_id(system_time(), random()?), change, user, role };
    let sent = open.chat.change_member(&ask).await.map_err(|error| open.trouble(error))?;
    open.connection.close().await;
    output::line(format_args!("{}:{}", open.name, sent.seq))
}

/// The user of a name; among the members, too, if they may be gone from the server.
async fn find(open: &Open, name: &str, among_members: bool) -> Result<UserId> {
    let name = name.strip_prefix('@').unwrap_or(name);
    let users = AccountsClient::new(open.connection.clone()).users().await?;
    if let Some(user) = users.iter().find(|user| user.name == name) {
        return Ok(UserId(user.id.0));
    }
    if among_members {
        let members = open.chat.members(open.named()).await.map_err(|error| open.trouble(error))?;
        if let Some(member) = members.iter().find(|member| member.name == name) {
            return Ok(member.user);
        }
    }
    Err(Trouble::new(Exit::NotFound, format!("there is no user '{}'", printable(name)))
        .hint("'hikyaku user list' shows the users"))
}

async fn list(global: &Global, room: &str, json: bool) -> Result {
    let open = Open::room(global, room).await?;
    let members = open.chat.members(open.named()).await.map_err(|error| open.trouble(error))?;
    open.connection.close().await;
    for member in members {
        if json {
            output::json(&JsonMember {
                v: JSON_VERSION,
                r#type: "member",
                user: member.user.to_string(),
                name: member.name,
                role: member.role.name(),
                since: time::utc(member.since_ms),
            })?;
        } else {
            let since = time::local(member.since_ms);
            output::line(format_args!("{}  {}  since {since}", printable(&member.name), member.role.name()))?;
        }
    }
    Ok(())
}
