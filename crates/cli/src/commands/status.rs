//! `hikyaku status`: which server is meant, whether it answers, and who this computer is there.

use std::collections::BTreeMap;

use clap::Args;
use hikyaku::events::Name;
use hikyaku::printable;
use hikyaku_accounts::AccountsClient;
use hikyaku_chat::ChatClient;
use serde::Serialize;

use crate::args::Global;
use crate::client::Client;
use crate::exit::Result;
use crate::output::{self, JSON_VERSION};
use crate::reference::place;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonStatus {
    v: u32,
    r#type: &'static str,
    server: String,
    host: String,
    addresses: String,
    address: Option<String>,
    transport: String,
    user: Option<String>,
    device: Option<String>,
    roles: Vec<String>,
    rooms: usize,
    unread: u64,
    mentions: u64,
    waiting: usize,
    events: BTreeMap<&'static str, u64>,
    #[serde(skip)]
    unread_in: Vec<(String, u64, u32)>,
}

impl Status {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let client = Client::of(global, None)?;
        let waiting = client.server.store()?.outbox(usize::MAX)?.len();
        let connection = client.connected().await?;
        let me = AccountsClient::new(connection.clone()).whoami().await?;
        let rooms = ChatClient::new(connection.clone()).rooms().await?;
        let unread = rooms.iter().map(|room| (room.name.clone(), super::room::unread(room)));
        let unread_in: Vec<_> = unread.map(|(name, (events, mentions))| (name, events, mentions)).collect();
        let known = &client.server.known;
        let address = connection.remote_address().map(|address| address.to_string());
        let status = JsonStatus {
            v: JSON_VERSION,
            r#type: "status",
            server: known.name.clone(),
            host: known.host.clone(),
            addresses: known.addresses.clone(),
            address,
            transport: connection.transport().to_string(),
            user: me.user,
            device: me.device,
            roles: me.roles,
            rooms: rooms.len(),
            unread: unread_in.iter().map(|(_, events, _)| events).sum(),
            mentions: unread_in.iter().map(|(_, _, mentions)| u64::from(*mentions)).sum(),
            waiting,
            events: connection.counts().iter().filter(|(_, count)| *count > 0).map(named).collect(),
            unread_in,
        };
        connection.close().await;
        if self.json { output::json(&status) } else { status.print() }
    }
}

fn named((name, count): (Name, u64)) -> (&'static str, u64) {
    (name.as_str(), count)
}

impl JsonStatus {
    fn print(&self) -> Result {
        let show = |text: &Option<String>| {
            text.as_deref().map(|text| printable(text).to_string()).unwrap_or_default()
        };
        let roles: Vec<_> = self.roles.iter().map(|role| printable(role).to_string()).collect();
        output::line(format_args!(
            "server:   {} ({} over {})",
            self.server,
            show(&self.address),
            self.transport
        ))?;
        output::line(format_args!("host key: {}", self.host))?;
        output::line(format_args!(
            "you:      {} ({}), device {}",
            show(&self.user),
            roles.join(", "),
            show(&self.device)
        ))?;
        output::line(format_args!("rooms:    {}", self.rooms))?;
        let unread = self.unread_in.iter().filter(|(_, events, _)| *events > 0);
        let unread: Vec<_> = unread
            .map(|(name, events, mentions)| match mentions {
                0 => format!("{events} in {}", place(name)),
                mentions => format!("{events} in {} ({mentions} for you)", place(name)),
            })
            .collect();
        if !unread.is_empty() {
            output::line(format_args!("unread:   {}", unread.join(", ")))?;
        }
        if self.waiting > 0 {
            output::line(format_args!("waiting:  {} messages whose outcome is not known", self.waiting))?;
        }
        Ok(())
    }
}
