//! A single file that takes the place of another one in the server's directory goes as a file and not as a tree of one: then
//! parts that did not change need not be sent. Spec: section 5.10.

use std::time::Duration;

use hikyaku_files::{FilesClient, Item, Outgoing, OutgoingTree, WalkOptions};
use hikyaku_wire::files::{Overwrite, PutOptions, Target, Verdict};

use super::Sending;
use super::source::{Source, is_one};

/// Smaller files are sent whole sooner than it is asked whether another one is there.
const RENEWED_FROM: u64 = 1024 * 1024;
/// How long the answer is waited for.
const ASKED_FOR: Duration = Duration::from_secs(15);

impl Sending {
    /// A file of its own instead of a tree of one, where it is to take the place of another: then parts of that need not
    /// be sent. Whether it is, is asked first: one that is there already costs nothing.
    pub(super) async fn renewed(&self, source: &Source) -> Option<Source> {
        let (file, tree) = source.renewed(self.target.clone(), self.put, &self.walk)?;
        let ask = async {
            let connection = self.client.connect().await.ok()?;
            let mut takes_place = false;
            let look = |item: Item| takes_place = item.verdict == Verdict::REPLACES;
            FilesClient::new(connection.clone()).preview_tree(tree, look).await.ok()?;
            connection.close().await;
            takes_place.then_some(file)
        };
        // Where this cannot be asked, whoever sends it says why.
        tokio::time::timeout(ASKED_FOR, ask).await.ok().flatten()
    }
}

impl Source {
    /// Of a tree of one that may take the place of another file: the file itself, and the tree.
    fn renewed(&self, target: Target, put: PutOptions, walk: &WalkOptions) -> Option<(Self, &OutgoingTree)> {
        let replaces = matches!(put.overwrite, Some(Overwrite::Newer | Overwrite::Always));
        let is_meant = replaces && put.checksum.is_none() && put.parts.is_none();
        let (Self::Tree(tree), Target::Drop(_), true) = (self, &target, is_meant) else { return None };
        let mut paths = tree.paths();
        let (Some(path), None) = (paths.next(), paths.next()) else { return None };
        let file = Outgoing::new(path, None, target).ok().filter(|_| is_one(path, walk))?;
        (file.size() >= RENEWED_FROM).then(|| (Self::File(file.with_options(put)), tree))
    }

    /// Whether this goes on with what another, that was not sent yet, would be once it is known to take a file's place.
    pub(super) fn is_same_renewed(&self, other: &Self, put: PutOptions) -> bool {
        let (Self::File(ours), Self::Tree(_)) = (self, other) else { return false };
        let again = Outgoing::new(ours.path(), None, ours.offer().target.clone());
        other.path() == ours.path() && again.is_ok_and(|again| again.with_options(put).is_same_source(ours))
    }
}
