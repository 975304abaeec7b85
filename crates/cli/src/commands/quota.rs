//! `hikyaku quota`: how many bytes there are and may be: of users, of rooms, of all.

use clap::Args;
use hikyaku::{Connection, ErrorCode, printable};
use hikyaku_files::FilesClient;
use hikyaku_wire::files::quotas::{AskQuotas, Quota as Told};
use serde::Serialize;

use super::invite::Via;
use crate::args::{Global, size};
use crate::event;
use crate::exit::{Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::reference;
use crate::server::{Bound, SetQuota, set_quota};

#[derive(Debug, Args)]
#[command(after_help = "\
What everybody may have is said when the server starts: 'serve --quota --user-quota --room-quota --room-user-quota \
--vault-quota'. What one user may have instead is kept by the server and holds from the next offer on.

  hikyaku quota                                   what is yours, and how much it may be
  hikyaku quota '#ops'                            what is in that room
  hikyaku quota --data DIR                        everything, on the server's computer
  hikyaku quota @ana --rooms 50G --data DIR       what ana may have in rooms
  hikyaku quota @ana --directory none --data DIR  … and in the server's directory: as much as there is room for
  hikyaku quota @ana --rooms default --data DIR   as everybody again")]
pub(crate) struct Quota {
    /// '@name' of a user, or a room, each with 'SERVER/' in front where several are known [default: you; with --data: everything]
    who: Option<String>,
    /// What this user may have in rooms: 500M, 20G (of 1,024), 'none' for no bound, 'default' for what everybody may
    #[arg(long, value_name = "SIZE", value_parser = bound, requires = "who", requires = "data")]
    rooms: Option<Bound>,
    /// What this user may have in the server's directory
    #[arg(long, value_name = "SIZE", value_parser = bound, requires = "who", requires = "data")]
    directory: Option<Bound>,
    /// One JSON object for each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    via: Via,
}

#[derive(Serialize)]
struct JsonQuota {
    v: u32,
    r#type: &'static str,
    of: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    bytes: u64,
    held: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<bool>,
}

impl Quota {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let named = self.who.as_deref().map(reference::room).transpose();
        let named = named.map_err(|error| Trouble::usage(error.to_string()))?;
        let user = named.as_ref().and_then(|named| named.what.person());
        let set = match (self.rooms.is_some() || self.directory.is_some(), user) {
            (false, _) => None,
            (true, None) => {
                return Err(Trouble::usage("--rooms and --directory are for a user: '@name'"));
            }
            (true, Some(user)) => {
                Some(SetQuota { user: user.to_owned(), rooms: self.rooms, directory: self.directory })
            }
        };
        let server = named.as_ref().and_then(|named| named.server.as_deref());
        let connection = self.via.connection(global, server).await?;
        if let Some(set) = &set {
            set_quota(&connection, set).await?;
        }
        let ask = AskQuotas {
            room: named.as_ref().filter(|_| user.is_none()).map(|room| room.what.as_str().to_owned()),
            user: user.map(str::to_owned),
            all: None,
        };
        let told = ask_for(&connection, &ask).await?;
        connection.close().await;
        told.iter().try_for_each(|quota| print(quota, self.json))
    }
}

async fn ask_for(connection: &Connection, ask: &AskQuotas) -> Result<Vec<Told>> {
    let told = FilesClient::new(connection.clone()).quotas(ask).await;
    told.map_err(|error| {
        let denied = error.code() == ErrorCode::DENIED;
        let trouble = Trouble::from(error);
        if denied { trouble.hint("add --data DIR on the server's computer") } else { trouble }
    })
}

/// `20G`, `none` or `default`.
fn bound(text: &str) -> std::result::Result<Bound, String> {
    match text {
        "none" => Ok(Bound::None),
        "default" => Ok(Bound::Usual),
        text => size(text).map(Bound::Bytes),
    }
}

fn print(quota: &Told, json: bool) -> Result {
    let name = quota.name.as_deref().unwrap_or_default();
    let Some((of, who)) = (match quota.scope {
        Told::STORE => Some(("store", "files of all rooms".to_owned())),
        Told::DIRECTORY => Some(("directory", "the directory".to_owned())),
        Told::ROOM => Some(("room", reference::place(name))),
        Told::USER_IN_ROOMS => Some(("user-in-rooms", format!("@{} in rooms", printable(name)))),
        Told::USER_IN_DIRECTORY => {
            Some(("user-in-directory", format!("@{} in the directory", printable(name))))
        }
        _ => None,
    }) else {
        return Ok(());
    };
    if json {
        return output::json(&JsonQuota {
            v: JSON_VERSION,
            r#type: "quota",
            of,
            name: quota.name.clone(),
            user: quota.user.map(|user| user.to_string()),
            bytes: quota.used,
            held: quota.held,
            limit: quota.limit,
            own: quota.own,
        });
    }
    output::line(format_args!("{who}: {}", said(quota)))
}

/// `1.2 GiB of 20.0 GiB (4.0 MiB more on the way)`.
fn said(quota: &Told) -> String {
    let mut said = match quota.limit {
        Some(limit) => format!("{} of {}", event::bytes(quota.used), event::bytes(limit)),
        None => format!("{}, no bound", event::bytes(quota.used)),
    };
    if quota.own == Some(true) {
        said.push_str(", set for this user");
    }
    if quota.held > 0 {
        said.push_str(&format!(" ({} more on the way)", event::bytes(quota.held)));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_said_with_its_bound_and_with_what_is_on_its_way() {
        let none = Told { scope: 2, name: None, user: None, used: 1 << 30, held: 0, limit: None, own: None };
        let own = Told { limit: Some(20 << 30), own: Some(true), held: 4 << 20, ..none.clone() };
        assert_eq!(said(&none), "1.00 GiB, no bound");
        assert_eq!(said(&own), "1.00 GiB of 20.00 GiB, set for this user (4.00 MiB more on the way)");
        assert_eq!(
            ["none", "default", "2K"].map(bound),
            [Ok(Bound::None), Ok(Bound::Usual), Ok(Bound::Bytes(2048))]
        );
    }
}
