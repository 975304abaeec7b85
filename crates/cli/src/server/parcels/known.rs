//! Which contents a member may refer to instead of sending them: those of files in rooms that they may read.
//!
//! A room is asked first whether it may be read, and only then what it has. How many rooms are asked does not depend on what
//! is asked for, so neither answers nor time tell anything of rooms that somebody may not read. Of an older version, only the
//! room that is sent to is asked. Spec: S5.72, S5.100.

use hikyaku::Failure;
use hikyaku_chat::Operation;
use hikyaku_storage::Key;
use hikyaku_wire::chat::RoomId;
use hikyaku_wire::files::MAX_KNOWN;
use hikyaku_wire::parcel::{EntryKind, Root};

use super::record::{kept_prefix, name_prefix, parse_kept, size_prefix};
use super::{Parcels, damaged};
use crate::server::context::Context;

/// Smaller files are sent as fast as they are compared.
pub(super) const KNOWN_FROM: u64 = 256 * 1024;
/// The most rooms that are asked, besides the one that is sent to.
const MAX_ROOMS: usize = 64;

impl Parcels {
    /// Contents of files of this size in rooms that the member may read.
    pub(super) async fn known_to(
        &self,
        context: &Context,
        room: &str,
        size: u64,
    ) -> Result<Vec<Root>, Failure> {
        if size < KNOWN_FROM {
            return Ok(Vec::new());
        }
        let target = self.meant(context, room).await?;
        let mut rooms = vec![target];
        rooms.extend(self.keeping().await?.into_iter().filter(|other| *other != target));
        let mut roots = Vec::new();
        for room in rooms {
            if self.chat.may(context, Operation::Read, room).await.is_err() {
                continue;
            }
            for (_, found) in self.scan(size_prefix(room, size), None, MAX_KNOWN).await? {
                let root = Root(found.value.as_ref().try_into().map_err(|_| damaged())?);
                if !roots.contains(&root) {
                    roots.push(root);
                }
            }
        }
        roots.truncate(MAX_KNOWN);
        Ok(roots)
    }

    /// The newest content of this kind and name in a room, where the member may read that.
    //= S5.100
    pub(super) async fn older_of(
        &self,
        context: &Context,
        room: &str,
        name: &[u8],
        kind: EntryKind,
    ) -> Result<Option<Root>, Failure> {
        let room = self.meant(context, room).await?;
        if self.chat.may(context, Operation::Read, room).await.is_err() {
            return Ok(None);
        }
        let newest = self.scan(name_prefix(room, kind, name), None, 1).await?;
        let root = newest.first().map(|(_, found)| found.value.as_ref().try_into().map(Root));
        root.transpose().map_err(|_| damaged())
    }

    /// Some of the rooms that keep anything.
    async fn keeping(&self) -> Result<Vec<RoomId>, Failure> {
        let (mut rooms, mut after) = (Vec::new(), None);
        while rooms.len() < MAX_ROOMS {
            let page = self.scan(kept_prefix(), after, 1).await?;
            let Some((key, _)) = page.first() else { break };
            let (room, ..) = parse_kept(key).ok_or_else(damaged)?;
            rooms.push(room);
            after = Some(Key::join([kept_prefix().as_bytes(), &room.0, &[0xff; 24]]));
        }
        Ok(rooms)
    }
}
