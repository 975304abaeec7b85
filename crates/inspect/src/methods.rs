//! Which rule of the CDDL the messages of a method obey (chapters 4 to 6).

/// Protocol, method, what the opener says, what the other side says.
const METHODS: &[(&str, &str, &str, &str)] = &[
    ("enroll/1", "redeem", "redeem", "welcome"),
    ("accounts/1", "whoami", "nothing", "me"),
    ("accounts/1", "invite.create", "create-invite", "created-invite"),
    ("accounts/1", "invite.list", "list-invites", "invites"),
    ("accounts/1", "invite.cancel", "cancel-invite", "nothing"),
    ("accounts/1", "device.invite", "invite-device", "created-invite"),
    ("accounts/1", "device.list", "list-devices", "devices"),
    ("accounts/1", "device.rename", "rename-device", "nothing"),
    ("accounts/1", "device.revoke", "revoke-device", "revoked"),
    ("accounts/1", "user.list", "list-users", "users"),
    ("accounts/1", "user.revoke", "revoke-user", "revoked"),
    ("chat/1", "room.create", "create-room", "created-room"),
    ("chat/1", "room.list", "list-rooms", "rooms"),
    ("chat/1", "resolve", "resolve-room", "room"),
    ("chat/1", "room.member", "change-member", "sent"),
    ("chat/1", "room.members", "list-members", "members"),
    ("chat/1", "room.retain", "retain", "room"),
    ("chat/1", "room.trim", "trim", "room"),
    ("chat/1", "read", "mark-read", "read-position"),
    ("chat/1", "send", "send", "sent"),
    ("chat/1", "history", "history", "history-page"),
    ("chat/1", "sync", "follow", "update"),
    ("chat/1", "presence", "look", "present"),
    ("files/1", "quota", "ask-quotas", "quota"),
    ("files/1", "receipt.give", "signed-receipt", "receipt-given"),
    ("files/1", "receipt.list", "list-receipts", "receipts"),
    ("files/1", "receipt.hands", "ask-hands", "hands"),
];

/// The messages that carry files are told apart by their place and shape.
const PUT: (&str, [&str; 3]) = ("put", ["offer", "step", "answer"]);
const GET: (&str, [&str; 3]) = ("get", ["file-request", "answer", "file-head"]);
const MEND: (&str, [&str; 4]) = ("mend", ["mend-request", "step", "lacking", "mended"]);

/// The rule of a message: its method, whether the opener says it, and how many that side said before.
pub(crate) fn rule(protocol: &str, method: &str, by_opener: bool, nth: u64) -> Option<&'static str> {
    if protocol == "files/1" && method == MEND.0 {
        let [request, step, lacking, mended] = MEND.1;
        return Some(match (by_opener, nth) {
            (true, 0) => request,
            (true, _) => step,
            (false, 0) => lacking,
            (false, _) => mended,
        });
    }
    if protocol == "files/1" && [PUT.0, GET.0].contains(&method) {
        return match (by_opener, nth) {
            _ if method == PUT.0 => Some(match (by_opener, nth) {
                (true, 0) => PUT.1[0],
                (true, _) => PUT.1[1],
                (false, _) => PUT.1[2],
            }),
            _ if method != GET.0 => None,
            (true, 0) => Some(GET.1[0]),
            (true, _) => Some(GET.1[1]),
            (false, 0) => Some(GET.1[2]),
            (false, _) => Some("step"),
        };
    }
    let known = METHODS.iter().find(|(p, m, _, _)| (*p, *m) == (protocol, method));
    known.map(|(_, _, asks, answers)| if by_opener { *asks } else { *answers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cddl;

    #[test]
    fn every_rule_named_here_stands_in_the_specification() {
        let listed = METHODS.iter().flat_map(|(_, _, asks, answers)| [*asks, *answers]);
        for name in listed.chain(PUT.1).chain(GET.1).chain(MEND.1) {
            assert!(cddl::rule(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_method_in_the_specifications_table_is_known_here() {
        let chapter = include_str!("../../../spec/4-chat.md");
        let mut rows = 0;
        for row in chapter.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let quoted = |cell: &str| cell.split('`').nth(1).map(str::to_owned);
            let [_, method, asks, answers, ..] = cells.as_slice() else { continue };
            let (Some(method), Some(asks), Some(answers)) = (quoted(method), quoted(asks), quoted(answers))
            else {
                continue;
            };
            rows += 1;
            assert_eq!(rule("chat/1", &method, true, 0), Some(asks.as_str()), "{method}");
            assert_eq!(rule("chat/1", &method, false, 0), Some(answers.as_str()), "{method}");
        }
        assert!(rows >= 6, "{rows}");
    }
}
