//! `hikyaku repair`: gives a server back what of a parcel has decayed there.

use std::path::{Path, PathBuf};

use clap::Args;
use hikyaku::{ErrorCode, printable};
use hikyaku_files::client::Repaired;
use hikyaku_files::{FilesClient, FilesError, WalkOptions};
use hikyaku_wire::files::Wanted;
use serde::Serialize;

use crate::args::Global;
use crate::client::{Client, Patience};
use crate::event;
use crate::exit::{Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::reference;

#[derive(Debug, Args)]
#[command(after_help = "\
'hikyaku doctor --scrub' names what has decayed. Whoever may read the parcel and still has it repairs it, from what was sent \
or from what was fetched: the server reads all of it, asks for what is not right, and takes nothing that it cannot prove.

  hikyaku repair '#lab:98' big.iso      the file that was sent, or fetched
  hikyaku repair '#lab:98' dataset      the directory

exit 0: all of it is right now; 7: what is here is not what was sent")]
pub(crate) struct Repair {
    /// '#room:SEQ'
    what: String,
    /// Where it lies here: the file, or the directory of the tree
    path: PathBuf,
    /// It was sent with --xattrs
    #[arg(long)]
    xattrs: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonRepaired<'a> {
    v: u32,
    r#type: &'static str,
    reference: &'a str,
    bytes: u64,
    places: u64,
    hashes: bool,
    size: u64,
}

/// One attempt, over a connection of its own; adds to what was mended.
async fn attempt(
    client: &Client,
    wanted: &Wanted,
    path: &Path,
    walk: &WalkOptions,
    repaired: &mut Repaired,
) -> Result<(), FilesError> {
    let connection = client.connect().await?;
    FilesClient::new(connection.clone()).repair_on(wanted, path, walk, repaired).await?;
    connection.close().await;
    Ok(())
}

impl Repair {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let event = reference::event(&self.what).map_err(|error| Trouble::usage(error.to_string()))?;
        self.path.symlink_metadata().map_err(|error| crate::exit::io(self.path.display(), &error))?;
        // A path that ends in `..` or a dot has no name of its own, and the tree had one.
        let path = self.path.canonicalize().map_err(|error| crate::exit::io(self.path.display(), &error))?;
        let client = Client::of(global, event.server.as_deref())?.for_bulk();
        let walk = WalkOptions { attributes: self.xattrs, ..WalkOptions::default() };
        let wanted = Wanted::Event(event.what);
        let (mut repaired, mut patience) = (Repaired::default(), Patience::new());
        while let Err(error) = attempt(&client, &wanted, &path, &walk, &mut repaired).await {
            patience.has_moved(repaired.bytes);
            // Somebody else may be mending it.
            if !error.is_retryable() || !patience.wait(&error).await {
                return Err(self.trouble(error));
            }
        }
        self.tell(repaired)
    }

    fn trouble(&self, error: FilesError) -> Trouble {
        let hint = match error.code() {
            ErrorCode::GROUP_MISMATCH | ErrorCode::SOURCE_CHANGED => Some(
                "what is here is not what was sent: another copy may be; what was right before it is repaired",
            ),
            ErrorCode::ROOT_MISMATCH => Some("whoever has it sends it again: hikyaku send"),
            _ => None,
        };
        let trouble = Trouble::from(error).during(printable(&self.what));
        match hint {
            Some(hint) => trouble.hint(hint),
            None => trouble,
        }
    }

    fn tell(&self, repaired: Repaired) -> Result {
        let Repaired { bytes, places, values: hashes, size } = repaired;
        if self.json {
            let reference = &*self.what;
            let (v, r#type) = (JSON_VERSION, "repaired");
            return output::json(&JsonRepaired { v, r#type, reference, bytes, places, hashes, size });
        }
        let (what, size) = (printable(&self.what), event::bytes(size));
        match (bytes, hashes) {
            (0, false) => output::line(format_args!("{what} is whole: {size}, nothing to repair")),
            (0, true) => {
                output::line(format_args!("{what} is whole: {size}; the hashes beside it are made anew"))
            }
            _ => output::line(format_args!(
                "{what} is whole again: {} of {size} sent, in {places} {}",
                event::bytes(bytes),
                if places == 1 { "place" } else { "places" }
            )),
        }
    }
}
