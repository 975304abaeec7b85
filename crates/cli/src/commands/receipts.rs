//! `hikyaku receipts`: who has a parcel, in words that their devices have signed; and whether such words are true, without
//! any server.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hikyaku::{KeyId, printable};
use hikyaku_files::FilesClient;
use hikyaku_files::receipts::printed::{self, Printed, Unreadable};
use hikyaku_files::receipts::{Invalid, verify};
use hikyaku_wire::files::receipts::{KeptReceipt, SignedReceipt, Statement};

use crate::args::Global;
use crate::client::Client;
use crate::event::bytes;
use crate::exit::{self, Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::{hands, reference, time};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
A device signs its receipt when everything is verified, durable and under its final name. With --json, one object a line:

  hikyaku receipts '#lab:97' --json > lab-97.receipts
  hikyaku receipts verify lab-97.receipts             anywhere, at any time, without a server

exit 0: all are valid; 7: one is not")]
pub(crate) struct Receipts {
    /// '#room:SEQ', the reference of a parcel
    #[arg(required = true)]
    reference: Option<String>,
    /// One JSON object per receipt, with the signature
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check receipts that were printed with --json, without a server
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    /// What 'hikyaku receipts REF --json' printed; '-' is standard input
    file: PathBuf,
    /// The root that they must be about
    #[arg(long, value_name = "HASH")]
    root: Option<String>,
    /// One JSON object per receipt
    #[arg(long)]
    json: bool,
}

impl Receipts {
    pub(crate) async fn run(self, global: &Global) -> Result {
        match self.verb {
            Some(Verb::Verify(verify)) => verify.run(),
            None => list(global, &self.reference.unwrap_or_default(), self.json).await,
        }
    }
}

async fn list(global: &Global, text: &str, json: bool) -> Result {
    let event = reference::event(text).map_err(|error| Trouble::usage(error.to_string()))?;
    let client = Client::of(global, event.server.as_deref())?;
    let connection = client.connected().await?;
    let files = FilesClient::new(connection.clone());
    let found = files.receipts(&event.what).await;
    let found = found.map_err(|error| Trouble::from(error).during(printable(text)))?;
    let mut invalid = 0;
    for kept in &found {
        let checked = check(&client, kept, event.what.seq);
        invalid += u64::from(checked.is_err());
        if json {
            let mut printed = Printed::new(JSON_VERSION, "receipt", &kept.receipt, checked.as_ref());
            printed.reference = Some(text.to_owned());
            (printed.name, printed.got_ms) = (Some(kept.name.clone()), Some(kept.got_ms));
            output::json(&printed)?;
        } else {
            let told = checked.map_or_else(|why| format!("INVALID: {why}"), |said| line(&said));
            output::line(format_args!("{}  {told}", printable(&kept.name)))?;
        }
    }
    if !json {
        let told = hands::of(&connection, &event.what.room, &[event.what.seq]).await;
        let told = told.get(&event.what.seq).and_then(hands::said);
        output::line(told.as_deref().unwrap_or("nobody has it yet"))?;
    }
    connection.close().await;
    ended(invalid)
}

/// What a device has said of just this parcel of this server.
fn check(client: &Client, kept: &KeptReceipt, seq: u64) -> Result<Statement, String> {
    let said = verify(&kept.receipt).map_err(|error| error.to_string())?;
    if said.host != *client.host().as_bytes() || said.seq != seq {
        return Err("the receipt is of another parcel".to_owned());
    }
    Ok(said)
}

fn ended(invalid: u64) -> Result {
    match invalid {
        0 => Ok(()),
        1 => Err(Trouble::new(Exit::Corrupt, "1 receipt is not valid")),
        count => Err(Trouble::new(Exit::Corrupt, format!("{count} receipts are not valid"))),
    }
}

/// `2026-11-23 05:10:11  all of 3.2 GiB  on 7kq…`
fn line(said: &Statement) -> String {
    let what = match said.missing {
        None => format!("all of {}", bytes(said.size)),
        Some(missing) => format!("{} but {missing} entries", bytes(said.size)),
    };
    let before = said.kept.filter(|kept| *kept > 0);
    let before = before.map_or_else(String::new, |kept| format!(", {kept} files were there before"));
    let device = KeyId::from_bytes(said.device.0);
    format!("{}  {what}{before}  on {device}", time::local(said.at_ms))
}

impl Verify {
    fn run(self) -> Result {
        let (mut valid, mut invalid) = (0_u64, 0_u64);
        let shown = self.file.display();
        for receipt in printed::Receipts::of(open(&self.file)?) {
            let receipt = receipt.map_err(|why| match why {
                Unreadable::Io(error) => exit::io(&shown, &error),
                why => Trouble::new(Exit::Corrupt, printable(&format!("{shown}: {why}")).to_string()),
            })?;
            let checked = self.check(&receipt);
            *(if checked.is_ok() { &mut valid } else { &mut invalid }) += 1;
            if self.json {
                output::json(&Printed::new(JSON_VERSION, "verified", &receipt, checked.as_ref()))?;
            } else {
                output::line(match &checked {
                    Ok(said) => format!("valid    {}  root {}  user {}", line(said), said.root, said.user),
                    Err(why) => format!("INVALID  {why}"),
                })?;
            }
        }
        if valid + invalid == 0 {
            return Err(Trouble::new(Exit::Failed, "there is no receipt in it")
                .hint("'hikyaku receipts REF --json' prints what can be checked here"));
        }
        ended(invalid)
    }

    fn check(&self, receipt: &SignedReceipt) -> Result<Statement, String> {
        let said = verify(receipt).map_err(|error: Invalid| error.to_string())?;
        match &self.root {
            Some(root) if !root.eq_ignore_ascii_case(&said.root.to_string()) => {
                Err(format!("it is about another root: {}", said.root))
            }
            _ => Ok(said),
        }
    }
}

/// The file to read; `-` is standard input.
fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = std::fs::File::open(path).map_err(|error| exit::io(path.display(), &error))?;
    Ok(Box::new(std::io::BufReader::new(file)))
}
