//! `hikyaku join`: an invite link makes this computer known to a server.

use std::io::Read as _;

use clap::Args;
use hikyaku::{Transport, printable};
use hikyaku_accounts::{AccountsClient, InviteLink};
use hikyaku_wire::enroll::Welcome;

use super::{blocking, serve};
use crate::args::Global;
use crate::exit::{self, Result, Trouble};
use crate::home::{Home, Known, KnownServer};
use crate::output;
use crate::seeing::Seeing;

/// The longest link read from standard input.
const MAX_INPUT: u64 = 8 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The invite link; '-' reads it from standard input. Better not typed here: other users of this computer can see
    /// the arguments of programs. Without it, join asks
    #[arg(value_name = "LINK")]
    link: Option<String>,
    /// Your name on the server [default: your user name here]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What this computer is called there [default: its name]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

impl Join {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let text = match self.link {
            Some(link) if link != "-" => link,
            given => blocking(move || read_link(given.is_none())).await?,
        };
        let link: InviteLink = text.trim().parse().map_err(|error| {
            Trouble::usage(format!("this is no invite link: {error}"))
                .hint("a link looks like hikyaku://HOST:PORT/#… ; copy the whole line that the server or a friend gave you")
        })?;
        let name = self.name.unwrap_or_else(user_name);
        let device = self.device.unwrap_or_else(serve::computer_name);
        let seeing = global.seeing.open()?;
        let transport = global.transport.into();
        let (server, welcome) = join(&Home::find()?, &link, &name, &device, transport, &seeing).await?;
        output::line(format_args!(
            "joined: {} as {} (device {})",
            server.known.name,
            printable(&welcome.user),
            printable(&welcome.device)
        ))
    }
}

/// Redeems the link and remembers the server. Repeating it after a failure is safe.
pub(crate) async fn join(
    home: &Home,
    link: &InviteLink,
    name: &str,
    device: &str,
    transport: Transport,
    seeing: &Seeing,
) -> Result<(KnownServer, Welcome)> {
    if let Some(known) = home.servers()?.into_iter().find(|server| server.known.host == link.host.to_string())
    {
        let hint = format!(
            "to join it as somebody else, forget it first: 'hikyaku server forget {}'",
            known.known.name
        );
        return Err(Trouble::usage(format!(
            "this computer knows that server already, as '{}'",
            known.known.name
        ))
        .hint(hint));
    }
    let identity = home.joining(link.host)?;
    let connect = hikyaku::connect(link.addresses_text(), link.host).identity(&identity).transport(transport);
    let connection = seeing.watch(connect).await?;
    let welcome = AccountsClient::new(connection.clone()).redeem(link, name, device).await?;
    connection.close().await;
    let server = home.joined(Known {
        name: file_name(&welcome.server),
        addresses: link.addresses_text(),
        host: link.host.to_string(),
        user: welcome.user.clone(),
        device: welcome.device.clone(),
    })?;
    Ok((server, welcome))
}

/// The server's own name, as far as it can be a directory of ours: it comes from a peer.
fn file_name(name: &str) -> String {
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(32).collect();
    if name.is_empty() { "server".to_owned() } else { name.to_ascii_lowercase() }
}

fn read_link(ask: bool) -> Result<String> {
    let trouble = |error| exit::io("standard input", &error);
    if ask && output::is_typed() {
        eprint!("invite link: ");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(trouble)?;
        return Ok(line);
    }
    let mut text = String::new();
    std::io::stdin().take(MAX_INPUT).read_to_string(&mut text).map_err(trouble)?;
    Ok(text)
}

fn user_name() -> String {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name: String = name
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .take(32)
        .collect();
    if name.is_empty() { "guest".to_owned() } else { name }
}
