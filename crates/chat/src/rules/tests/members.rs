//! Who may change a membership: the table of chapter 4, "Members", and what stands below it.

use hikyaku_wire::chat::Change;
use hikyaku_wire::chat::MemberRole::{self, Invited, Member, Moderator, Owner};

use super::*;

const ALL: [Option<MemberRole>; 5] = [None, Some(Invited), Some(Member), Some(Moderator), Some(Owner)];
const SOMEBODY: UserId = UserId([1; 16]);

/// What becomes of members and owners of a room with five and two.
fn judge(
    private: bool,
    change: Change,
    own: bool,
    roles: Roles,
    role: Option<MemberRole>,
) -> Result<(u64, u64), Refusal> {
    let subject = if own { SOMEBODY } else { UserId([2; 16]) };
    let wish = Wish { change, subject, name: "x".to_owned(), role };
    wish.check(SOMEBODY)?;
    let record = RoomRecord { private, members: 5, owners: 2, ..open_room() };
    let after = wish.apply(roles, SOMEBODY, &record, &Limits::default())?;
    Ok((after.members, after.owners))
}

fn plain(actor: Option<MemberRole>, subject: Option<MemberRole>) -> Roles {
    Roles { actor, moderates: false, subject }
}

fn is_denied(verdict: &Result<(u64, u64), Refusal>) -> bool {
    matches!(verdict, Err(Refusal::Denied(_)))
}

//= S4.84 (test)
#[test]
fn everybody_joins_an_open_room_once_and_a_private_one_when_invited() {
    let join = |private, role| judge(private, Change::Join, true, plain(role, role), None);
    assert_eq!(join(false, None), Ok((6, 2)));
    assert_eq!(join(true, None), Err(Refusal::RoomUnknown));
    for private in [false, true] {
        assert_eq!(join(private, Some(Invited)), Ok((5, 2)));
        for role in [Member, Moderator, Owner] {
            assert_eq!(join(private, Some(role)), Err(Refusal::MemberAlready), "{role:?}");
        }
    }
    let other = judge(false, Change::Join, false, plain(Some(Owner), None), None);
    assert!(matches!(other, Err(Refusal::Invalid(_))), "nobody is joined by others");
}

//= S4.84 (test)
#[test]
fn moderators_invite_to_a_private_room_and_nobody_who_belongs_to_it() {
    for actor in ALL {
        let invite = |private, subject| judge(private, Change::Invite, false, plain(actor, subject), None);
        let may = matches!(actor, Some(Moderator | Owner));
        assert_eq!(invite(true, None).is_ok(), may, "{actor:?}");
        assert!(may || is_denied(&invite(true, None)), "{actor:?}");
        assert_eq!(invite(false, None), Ok((6, 2)), "{actor:?}");
        for subject in ALL.into_iter().skip(1) {
            assert_eq!(invite(true, subject), Err(Refusal::MemberAlready), "{subject:?}");
        }
    }
}

//= S4.84 (test)
#[test]
fn moderators_remove_members_and_owners_everybody() {
    for (actor, subject) in
        ALL.into_iter().flat_map(|actor| ALL.into_iter().skip(1).map(move |of| (actor, of)))
    {
        let removed = judge(true, Change::Leave, false, plain(actor, subject), None);
        let may = match actor {
            Some(Owner) => true,
            Some(Moderator) => matches!(subject, Some(Invited | Member)),
            _ => false,
        };
        assert_eq!(removed.is_ok(), may, "{actor:?} removes {subject:?}");
        assert!(may || is_denied(&removed), "{actor:?} removes {subject:?}: {removed:?}");
    }
    for role in [Invited, Member, Moderator] {
        let left = judge(true, Change::Leave, true, plain(Some(role), Some(role)), None);
        assert_eq!(left, Ok((4, 2)), "{role:?} leaves");
    }
}

//= S4.84 (test)
#[test]
fn owners_alone_give_roles_and_never_that_of_an_invitation() {
    let give = |actor, subject, role| judge(true, Change::Role, false, plain(actor, subject), role);
    for actor in ALL {
        let given = give(actor, Some(Member), Some(Moderator));
        assert_eq!(given.is_ok(), actor == Some(Owner), "{actor:?}");
        assert!(given.is_ok() || is_denied(&given), "{actor:?}: {given:?}");
    }
    assert_eq!(give(Some(Owner), Some(Member), Some(Owner)), Ok((5, 3)));
    assert_eq!(give(Some(Owner), Some(Member), Some(Member)), Err(Refusal::MemberAlready));
    assert_eq!(give(Some(Owner), Some(Invited), Some(Member)), Err(Refusal::MemberUnknown));
    for role in [None, Some(Invited)] {
        assert!(matches!(give(Some(Owner), Some(Member), role), Err(Refusal::Invalid(_))), "{role:?}");
    }
}

//= S4.84 (test)
#[test]
fn who_keeps_order_on_the_server_owns_open_rooms_and_moderates_private_ones_they_have_joined() {
    let act = |private, change, actor, subject, role| {
        judge(private, change, false, Roles { actor, moderates: true, subject }, role)
    };
    for actor in ALL {
        assert!(act(false, Change::Leave, actor, Some(Owner), None).is_ok(), "{actor:?}");
        assert!(act(false, Change::Role, actor, Some(Member), Some(Owner)).is_ok(), "{actor:?}");
    }
    assert!(act(true, Change::Leave, Some(Member), Some(Member), None).is_ok());
    assert!(act(true, Change::Invite, Some(Member), None, None).is_ok());
    assert!(is_denied(&act(true, Change::Leave, Some(Member), Some(Moderator), None)));
    assert!(is_denied(&act(true, Change::Role, Some(Member), Some(Member), Some(Owner))));
    for outside in [None, Some(Invited)] {
        assert!(is_denied(&act(true, Change::Leave, outside, Some(Member), None)), "{outside:?}");
        assert!(is_denied(&act(true, Change::Invite, outside, None, None)), "{outside:?}");
    }
}
