//! Looking at a transfer that somebody may be writing: nothing is locked, and nothing is changed.

use std::fs::File;

use hikyaku_storage::vault::VaultError;
use hikyaku_wire::parcel::{Root, TransferId};

use super::Staging;

/// What is found under a transfer's name.
pub(crate) enum Peek {
    /// Nothing, or nothing any more.
    Nothing,
    /// An object: it is whole.
    Settled(Root),
    /// Its temporary files, and what of them is verified and durable.
    Open { data: File, tree: File, verified: u64 },
}

impl Staging {
    /// Opens the temporary files of an object on its way. Whoever writes it may give it its name meanwhile: then these
    /// handles go on giving its bytes.
    pub(crate) fn peek(&self, transfer: TransferId) -> Result<Peek, VaultError> {
        let names = self.names(transfer);
        // Opened before the journal is read: when the files are gone by then, it says why.
        let data = self.dir.open_file(&names.part, false)?;
        let tree = self.dir.open_file(&names.tree, false)?;
        let contents = self.read(&names)?;
        let settled = contents.settled.map(|(root, _)| root);
        let sealing = contents.sealing.map(|(root, ..)| root);
        Ok(match (data, tree) {
            (Some(data), Some(tree)) => {
                let there = data.metadata()?.len() >= contents.mark.verified;
                Peek::Open { data, tree, verified: if there { contents.mark.verified } else { 0 } }
            }
            _ => settled.or(sealing).map_or(Peek::Nothing, Peek::Settled),
        })
    }
}
