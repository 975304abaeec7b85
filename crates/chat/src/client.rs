//! The client's side: calls on a connection, and following rooms across connections.

mod calls;
mod fold;
mod follower;
mod following;
mod looking;

pub use calls::{ChatClient, Sends, SendsReceiver, SendsSender, Sync, SyncReceiver, SyncSender, message};
pub use fold::{About, Fold};
pub use follower::{Accept, Delivery, Follower, News, Position};
pub use following::{Backoff, Following};
pub use looking::{Looking, People};

use hikyaku_wire::chat::{MessageId, RoomId};

/// Under this context a key given by a person becomes a message id.
const KEY_CONTEXT: &str = "hikyaku/1 chat message key";

/// The message id that stands for a key of the sender's own choosing: sending twice with one key is sending once.
/// It is scoped to the room; the server scopes ids to their author.
//= S4.38
pub fn id_for_key(room: RoomId, key: &str) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
    hasher.update(&room.0).update(key.as_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    MessageId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    //= S4.38 (test)
    #[test]
    fn a_key_is_one_id_in_each_room() {
        let (ops, lab) = (RoomId([1; 16]), RoomId([2; 16]));
        assert_eq!(id_for_key(ops, "deploy-42"), id_for_key(ops, "deploy-42"));
        assert_ne!(id_for_key(ops, "deploy-42"), id_for_key(ops, "deploy-43"));
        assert_ne!(id_for_key(ops, "deploy-42"), id_for_key(lab, "deploy-42"));
    }
}
