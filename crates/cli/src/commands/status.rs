//! `hikyaku status`: which server is meant, whether it answers, and who this computer is there.

use clap::Args;
use hikyaku::printable;
use hikyaku_accounts::AccountsClient;
use hikyaku_chat::ChatClient;
use serde::Serialize;

use crate::args::Global;
use crate::client::Client;
use crate::exit::Result;
use crate::output::{self, JSON_VERSION};

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
    waiting: usize,
}

impl Status {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let client = Client::of(global, None)?;
        let waiting = client.server.store()?.outbox(usize::MAX)?.len();
        let connection = client.connected().await?;
        let me = AccountsClient::new(connection.clone()).whoami().await?;
        let rooms = ChatClient::new(connection.clone()).rooms().await?.len();
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
            rooms,
            waiting,
        };
        connection.close().await;
        if self.json { output::json(&status) } else { status.print() }
    }
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
        if self.waiting > 0 {
            output::line(format_args!("waiting:  {} messages whose outcome is not known", self.waiting))?;
        }
        Ok(())
    }
}
