//! `hikyaku receipts`: who has a parcel, in words that their devices have signed; and whether such words are true, without
//! any server.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use hikyaku::{KeyId, printable};
use hikyaku_files::FilesClient;
use hikyaku_files::receipts::{Invalid, verify};
use hikyaku_wire::files::receipts::{KeptReceipt, SignedReceipt, Statement};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::client::Client;
use crate::event::bytes;
use crate::exit::{self, Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::{hands, reference, time};

/// The longest line that is read as a receipt.
const MAX_LINE: usize = 16 * 1024;

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

/// A receipt, as it is printed and read. Everything but `statement`, `key` and `signature` is there to be read.
#[derive(Debug, Serialize, Deserialize)]
struct JsonReceipt {
    v: u32,
    r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    got_ms: Option<u64>,
    /// What was signed; absent where it is not true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said: Option<Said>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    statement: String,
    key: String,
    signature: String,
}

/// A statement for people.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    host: String,
    room: String,
    epoch: u32,
    seq: u64,
    transfer: String,
    root: String,
    bytes: u64,
    user: String,
    device: String,
    at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
}

impl Said {
    fn of(statement: &Statement) -> Self {
        Self {
            host: KeyId::from_bytes(statement.host).to_string(),
            room: statement.room.to_string(),
            epoch: statement.epoch,
            seq: statement.seq,
            transfer: statement.transfer.to_string(),
            root: statement.root.to_string(),
            bytes: statement.size,
            user: statement.user.to_string(),
            device: KeyId::from_bytes(statement.device.0).to_string(),
            at_ms: statement.at_ms,
            kept: statement.kept,
            missing: statement.missing,
        }
    }
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
            output::json(&object(&kept.receipt, checked.as_ref(), Some((text, kept))))?;
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

fn object(
    receipt: &SignedReceipt,
    checked: Result<&Statement, &String>,
    from: Option<(&str, &KeptReceipt)>,
) -> JsonReceipt {
    JsonReceipt {
        v: JSON_VERSION,
        r#type: if from.is_some() { "receipt" } else { "verified" }.to_owned(),
        reference: from.map(|(text, _)| text.to_owned()),
        name: from.map(|(_, kept)| kept.name.clone()),
        got_ms: from.map(|(_, kept)| kept.got_ms),
        said: checked.ok().map(Said::of),
        error: checked.err().cloned(),
        statement: HEX.encode(&receipt.statement),
        key: HEX.encode(&receipt.key),
        signature: HEX.encode(&receipt.signature),
    }
}

impl Verify {
    fn run(self) -> Result {
        let (mut valid, mut invalid) = (0_u64, 0_u64);
        for text in lines(&self.file)? {
            let text = text?;
            if text.trim().is_empty() {
                continue;
            }
            let receipt = read(&text).map_err(|why| Trouble::new(Exit::Corrupt, why))?;
            let checked = self.check(&receipt);
            *(if checked.is_ok() { &mut valid } else { &mut invalid }) += 1;
            if self.json {
                output::json(&object(&receipt, checked.as_ref(), None))?;
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

/// The lines of a file; none is longer than a receipt can be.
fn lines(path: &Path) -> Result<Box<dyn Iterator<Item = Result<String>>>> {
    let file: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path).map_err(|error| exit::io(path.display(), &error))?;
        Box::new(std::io::BufReader::new(file))
    };
    let shown = path.display().to_string();
    let mut file = file;
    Ok(Box::new(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let mut bounded = std::io::Read::take(&mut file, MAX_LINE as u64 + 1);
        match bounded.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) if line.len() > MAX_LINE => Some(Err(Trouble::new(
                Exit::Corrupt,
                format!("{shown}: a line of more than {MAX_LINE} bytes"),
            ))),
            Ok(_) => Some(Ok(String::from_utf8_lossy(&line).into_owned())),
            Err(error) => Some(Err(exit::io(&shown, &error))),
        }
    })))
}

/// What was signed, by whom, and the signature; nothing else of a line is believed.
fn read(text: &str) -> Result<SignedReceipt, String> {
    let object: JsonReceipt =
        serde_json::from_str(text).map_err(|error| format!("a line is no receipt: {error}"))?;
    let unhex = |name: &str, text: &str| {
        HEX.decode(text.as_bytes()).map_err(|_| format!("'{name}' is not hexadecimal"))
    };
    let wrong = |name: &str| format!("'{name}' has another length");
    Ok(SignedReceipt {
        statement: unhex("statement", &object.statement)?,
        key: unhex("key", &object.key)?.try_into().map_err(|_| wrong("key"))?,
        signature: unhex("signature", &object.signature)?.try_into().map_err(|_| wrong("signature"))?,
    })
}
