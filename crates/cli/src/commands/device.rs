//! `hikyaku device`: the devices of one user.

use clap::Subcommand;
use hikyaku::{KeyId, printable};
use hikyaku_accounts::DeviceId;
use hikyaku_wire::accounts::InviteDevice;
use serde::Serialize;

use super::invite::Via;
use crate::args::Global;
use crate::exit::{Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Print a link that makes another computer a device of yours; valid for ten minutes
    Add {
        #[command(flatten)]
        via: Via,
    },
    /// Show your devices; the one you are using has a star
    List {
        /// One JSON object per device
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        via: Via,
    },
    /// Make the server forget a device and close its connections at once
    Revoke {
        /// Its name or id
        device: String,
        #[command(flatten)]
        via: Via,
    },
}

#[derive(Serialize)]
struct JsonDevice {
    v: u32,
    r#type: &'static str,
    id: String,
    name: String,
    added: String,
    seen: String,
    this: bool,
}

impl Device {
    pub(crate) async fn run(self, global: &Global) -> Result {
        match self {
            Self::Add { via } => {
                let (accounts, connection, own) = via.accounts(global).await?;
                let link = accounts.invite_device(&InviteDevice::default(), &own).await?;
                connection.close().await;
                output::line(link)
            }
            Self::List { json, via } => {
                let (accounts, connection, _) = via.accounts(global).await?;
                let devices = accounts.devices(None).await?;
                connection.close().await;
                devices.iter().try_for_each(|device| print(device, json))
            }
            Self::Revoke { device, via } => {
                let (accounts, connection, _) = via.accounts(global).await?;
                let id = match device.parse::<KeyId>() {
                    Ok(id) => DeviceId(*id.as_bytes()),
                    Err(_) => {
                        let devices = accounts.devices(None).await?;
                        let found = devices.iter().find(|known| known.name == device);
                        found.ok_or_else(|| unknown(&device))?.id
                    }
                };
                accounts.revoke_device(id).await?;
                connection.close().await;
                Ok(())
            }
        }
    }
}

fn unknown(device: &str) -> Trouble {
    Trouble::new(Exit::NotFound, format!("you have no device '{}'", printable(device)))
        .hint("'hikyaku device list' shows your devices")
}

fn print(device: &hikyaku_wire::accounts::Device, json: bool) -> Result {
    let id = KeyId::from_bytes(device.id.0).to_string();
    if json {
        return output::json(&JsonDevice {
            v: JSON_VERSION,
            r#type: "device",
            id,
            name: device.name.clone(),
            added: time::utc(device.added_ms),
            seen: time::utc(device.seen_ms),
            this: device.this,
        });
    }
    let star = if device.this { '*' } else { ' ' };
    output::line(format_args!(
        "{star} {}  {id}  seen {}",
        printable(&device.name),
        time::local(device.seen_ms)
    ))
}
