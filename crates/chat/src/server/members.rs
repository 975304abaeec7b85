//! `room.member` and `room.members`: who belongs to a room.

use std::sync::Arc;

use hikyaku_wire::chat::{Change, ChangeMember, ListMembers, Member as Listed, Members, Sent, UserId};

use super::core::{Core, salt};
use super::direct;
use crate::member::Member;
use crate::refusal::Refusal;
use crate::rules::{Proposal, Wish};
use crate::stored::{self, MemberRecord, member_key, members_prefix};

/// Changes a membership; the event that says so is durable when this resolves.
//= S4.82
pub(crate) async fn change(
    core: &Arc<Core>,
    member: Arc<dyn Member>,
    ask: ChangeMember,
) -> Result<Sent, Refusal> {
    let author = member.author();
    let ChangeMember { room, id, change, user, role } = ask;
    let subject = user.unwrap_or(author.id);
    let room = core.room(core.meant(&*member, &room).await?).await?;
    //= S4.8
    if direct::is_direct(&room.record().record) {
        core.known_to(&*member, &room.record()).await?;
        return Err(Refusal::Denied("change who belongs to a direct room: it is the two of you"));
    }
    let name = match subject == author.id {
        true => author.name.clone(),
        false => match (member.name_of(subject).await?, change) {
            (Some(name), _) => name,
            // Whoever is gone from the server can still be sent away.
            (None, Change::Leave) => recorded(core, room.id, subject).await?,
            (None, _) => return Err(Refusal::UserUnknown),
        },
    };
    let wish = Wish { change, subject, name, role: role.filter(|_| change == Change::Role) };
    let proposal = Proposal::of_wish(wish, author, id, salt()?)?;
    core.submit(room, proposal, Some(member)).await?.await.unwrap_or(Err(Refusal::Stopping))
}

async fn recorded(core: &Core, room: hikyaku_wire::chat::RoomId, user: UserId) -> Result<String, Refusal> {
    let found = core.store.get(&member_key(room, user)).await?.ok_or(Refusal::MemberUnknown)?;
    Ok(stored::decode::<MemberRecord>(&found.value)?.name)
}

/// Who belongs to a room, page by page.
//= S4.83
pub(crate) async fn list(core: &Core, member: &dyn Member, ask: ListMembers) -> Result<Members, Refusal> {
    let (room, _) = core.open(member, &ask.room).await?;
    let (prefix, limit) = (members_prefix(room.id), core.limits.members_listed.max(1));
    let after = ask.after.map(|user| member_key(room.id, user));
    let mut page = core.store.scan(prefix, after, limit + 1).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let mut members = Vec::with_capacity(page.len());
    for (key, found) in page {
        let user = key.as_bytes().last_chunk::<16>().copied().ok_or(Refusal::Corrupt)?;
        let MemberRecord { role, name, since_ms } = stored::decode(&found.value)?;
        members.push(Listed { user: UserId(user), name, role, since_ms });
    }
    let more = members.last().map(|member| member.user).filter(|_| more);
    Ok(Members { members, more })
}
