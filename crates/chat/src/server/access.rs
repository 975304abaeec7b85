//! What somebody may do in a room: what the program permits everywhere, and what the room's record says.

use hikyaku_wire::chat::Kind;

use super::core::Core;
use super::room::Versioned;
use super::sequencer::Checks;
use crate::member::{Ask, Member, Operation};
use crate::refusal::Refusal;
use crate::rules::{Standing, asks_for_moderators};

impl Core {
    /// What the author of an event is in its room. Everything the answer rests on goes into `checks`, to be checked in
    /// the batch that appends.
    //= S4.37
    pub(crate) async fn standing(
        &self,
        member: &dyn Member,
        record: &Versioned,
        kind: Kind,
        fresh: bool,
        checks: &mut Checks,
    ) -> Result<Standing, Refusal> {
        let ask = |operation| Ask { operation, room: Some(record.room), fresh };
        checks.add(member.permit(ask(Operation::Append(kind))).await?);
        if !asks_for_moderators(kind) {
            return Ok(Standing::Member);
        }
        if record.record.creator == member.author().id {
            return Ok(Standing::Moderator);
        }
        match member.permit(ask(Operation::Moderate)).await {
            Ok(permit) => {
                checks.add(permit);
                Ok(Standing::Moderator)
            }
            Err(Refusal::Denied(_)) => Ok(Standing::Member),
            Err(refusal) => Err(refusal),
        }
    }
}
