//! In how many hands parcels are: beside what is shown of them, and as it changes.

use std::collections::HashMap;
use std::time::Duration;

use hikyaku::Connection;
use hikyaku_chat::RoomName;
use hikyaku_files::FilesClient;
use hikyaku_wire::files::receipts::{Hands, MAX_ASKED};
use tokio::sync::{mpsc, watch};

use crate::time;

/// How long a list of events waits for this.
const PATIENCE: Duration = Duration::from_secs(2);
/// News that wait to be shown.
const NEWS: usize = 64;

/// In how many hands these parcels of a room are; nothing where the server does not tell.
pub(crate) async fn of(connection: &Connection, room: &str, parcels: &[u64]) -> HashMap<u64, Hands> {
    let files = FilesClient::new(connection.clone());
    let newest = parcels.get(parcels.len().saturating_sub(MAX_ASKED)..).unwrap_or_default();
    if newest.is_empty() {
        return HashMap::new();
    }
    let told = tokio::time::timeout(PATIENCE, files.hands(room, newest.to_vec())).await;
    let told = told.ok().and_then(Result::ok).unwrap_or_default();
    told.into_iter().map(|hands| (hands.seq, hands)).collect()
}

/// `in 3 of 5 hands`; nothing where there is nothing to say.
pub(crate) fn said(hands: &Hands) -> Option<String> {
    match (hands.hands, hands.of) {
        (0, None) => None,
        (1, None) => Some("in 1 hand".to_owned()),
        (count, None) => Some(format!("in {count} hands")),
        (count, Some(1)) => Some(format!("in {count} of 1 hand")),
        (count, Some(of)) => Some(format!("in {count} of {of} hands")),
    }
}

/// `20:14 #lab:97 is in 3 of 5 hands`; nothing where there is nothing to say.
pub(crate) fn line(room: &RoomName, hands: &Hands) -> Option<String> {
    let now = time::clock(hikyaku_accounts::system_time());
    said(hands).map(|said| format!("{now} {room}:{} is {said}", hands.seq))
}

/// Tells of every parcel of a room that comes into another hand, for as long as this lives.
pub(crate) struct Following {
    pub(crate) news: mpsc::Receiver<Hands>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Following {
    /// Over whatever connection there is. What changed while there was none is told by the next one, of the parcels
    /// that were told of before.
    pub(crate) fn start(
        room: String,
        mut known: HashMap<u64, Hands>,
        mut connections: watch::Receiver<Option<Connection>>,
    ) -> Self {
        let (to, news) = mpsc::channel(NEWS);
        let task = tokio::spawn(async move {
            loop {
                let connection = connections.borrow_and_update().clone();
                if let Some(connection) = connection {
                    let asked = known.keys().copied().take(MAX_ASKED).collect();
                    let files = FilesClient::new(connection);
                    if let Ok(mut following) = files.follow_hands(&room, asked).await {
                        while let Ok(Some(hands)) = following.next().await {
                            if known.insert(hands.seq, hands) != Some(hands) && to.send(hands).await.is_err()
                            {
                                return;
                            }
                        }
                    }
                }
                if connections.changed().await.is_err() {
                    return;
                }
            }
        });
        Self { news, task }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_are_counted_in_words() {
        let said = |hands, of| said(&Hands { seq: 1, hands, of, arrival: None });
        assert_eq!(said(0, None), None);
        assert_eq!(said(1, None).unwrap(), "in 1 hand");
        assert_eq!(said(3, Some(5)).unwrap(), "in 3 of 5 hands");
        assert_eq!(said(0, Some(1)).unwrap(), "in 0 of 1 hand");
    }
}
