//! What a `send` sends: one regular file or standard input as its own bytes, or anything else as a tree.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hikyaku::Connection;
use hikyaku_files::{
    FilesClient, FilesError, Outgoing, OutgoingPipe, OutgoingTree, Progress, Trouble, WalkOptions,
};
use hikyaku_wire::bundle::Done;
use hikyaku_wire::files::{PutOptions, Receipt, Target};
use hikyaku_wire::parcel::TransferId;

/// A transfer of this side.
#[derive(Clone)]
pub(super) enum Source {
    File(Outgoing),
    Tree(OutgoingTree),
    /// Standard input, under this name.
    Pipe(OutgoingPipe, PathBuf),
}

impl Source {
    /// Standard input.
    pub(super) fn piped(name: &OsStr, target: Target, put: PutOptions) -> Result<Self, FilesError> {
        // A handle of our own: what is read ahead by the standard library could not be asked for.
        let shown = "standard input";
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|error| FilesError::Source { path: shown.to_owned(), error })?;
        let pipe = OutgoingPipe::live(input, shown, name.as_bytes(), target)?;
        Ok(Self::Pipe(pipe.with_options(put), name.into()))
    }

    /// Whether it can be read only once.
    pub(super) fn is_piped(&self) -> bool {
        matches!(self, Self::Pipe(..))
    }

    /// Of a tree: what it is made of.
    pub(super) fn tops(&self) -> Option<Vec<PathBuf>> {
        match self {
            Self::Tree(tree) => Some(tree.paths().map(Path::to_owned).collect()),
            Self::File(_) | Self::Pipe(..) => None,
        }
    }

    /// Looks at the paths. One regular file without holes is sent as it is.
    pub(super) fn new(
        paths: &[PathBuf],
        target: Target,
        put: PutOptions,
        walk: WalkOptions,
    ) -> Result<Self, FilesError> {
        let is_usual = put == PutOptions { parts: put.parts, ..PutOptions::default() };
        if let [path] = paths
            && is_usual
            && is_one(path, &walk)
        {
            let file = Outgoing::new(path, None, target)?;
            return Ok(Self::File(if put.parts.is_some() { file.with_options(put) } else { file }));
        }
        Ok(Self::Tree(OutgoingTree::new(paths, None, target, put, walk)?))
    }

    /// A file as a tree of one.
    pub(super) fn as_tree(
        &self,
        target: &Target,
        put: PutOptions,
        walk: &WalkOptions,
    ) -> Result<Option<Self>, FilesError> {
        let (Self::File(file), Target::Drop(_)) = (self, target) else { return Ok(None) };
        let paths = [file.path().to_owned()];
        Ok(Some(Self::Tree(OutgoingTree::new(&paths, None, target.clone(), put, walk.clone())?)))
    }

    /// Reads what [`Source::encode`] wrote.
    pub(super) fn decode(bytes: &[u8], walk: WalkOptions) -> Option<Self> {
        match Outgoing::decode(bytes) {
            Some(file) => Some(Self::File(file)),
            None => OutgoingTree::decode(bytes, walk).map(Self::Tree),
        }
    }

    /// What another process needs to go on; standard input is gone with this one.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::File(file) => Some(file.encode()),
            Self::Tree(tree) => Some(tree.encode()),
            Self::Pipe(..) => None,
        }
    }

    pub(super) fn transfer(&self) -> TransferId {
        match self {
            Self::File(file) => file.transfer(),
            Self::Tree(tree) => tree.transfer(),
            Self::Pipe(pipe, _) => pipe.transfer(),
        }
    }

    /// The path that this transfer is remembered by: the first one.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.path(),
            Self::Tree(tree) => tree.paths().next().unwrap_or(Path::new("")),
            Self::Pipe(_, name) => name,
        }
    }

    /// Whether another transfer would carry the same to the same place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(ours), Self::File(theirs)) => ours.is_same_source(theirs),
            (Self::Tree(ours), Self::Tree(theirs)) => ours.is_same_source(theirs),
            _ => false,
        }
    }

    pub(super) async fn send(
        &self,
        connection: &Connection,
        progress: &Progress,
    ) -> Result<Receipt, FilesError> {
        let client = FilesClient::new(connection.clone());
        match self {
            Self::File(file) => client.send_file(file, progress).await,
            Self::Tree(tree) => client.send_tree(tree, progress).await,
            Self::Pipe(pipe, _) => client.send_pipe(pipe, progress).await,
        }
    }

    /// Whether it is one file, or one directory.
    pub(super) fn is_one(&self) -> bool {
        self.tops().is_none_or(|tops| tops.len() == 1)
    }

    /// Of a tree that was sent: what was in it.
    pub(super) fn counts(&self) -> Option<Done> {
        match self {
            Self::Tree(tree) => Some(tree.troubles().1),
            Self::File(_) | Self::Pipe(..) => None,
        }
    }

    /// What could not be carried, and how many.
    pub(super) fn troubles(&self) -> (Vec<Trouble>, u64) {
        match self {
            Self::File(_) | Self::Pipe(..) => (Vec::new(), 0),
            Self::Tree(tree) => {
                let (troubles, counts) = tree.troubles();
                (troubles, counts.left_out)
            }
        }
    }
}

/// One file, and nothing to be said of it that a tree alone can say.
pub(super) fn is_one(path: &Path, walk: &WalkOptions) -> bool {
    walk.filter.is_none() && !walk.attributes && is_plain(path)
}

/// A regular file whose content is all there. One with holes is a tree of one, so that the holes cost nothing.
fn is_plain(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    // What cannot be looked at is told by whoever opens it.
    let Ok(meta) = path.symlink_metadata() else { return true };
    let is_tree = meta.is_dir() || meta.is_file() && is_sparse(meta.len(), meta.blocks());
    !is_tree
}

/// Whether the disk holds much less than the size: a hole worth keeping.
fn is_sparse(size: u64, blocks: u64) -> bool {
    size > 1024 * 1024 && blocks.saturating_mul(512) < size / 2
}
