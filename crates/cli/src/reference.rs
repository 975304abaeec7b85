//! What people call things: `#ops`, `#ops:17`, `home/#ops:2.17`, `:`, `:sub/dir`. Pure parsing.

use hikyaku_chat::RoomName;
use hikyaku_wire::files::{Component, MAX_COMPONENTS, Target};
use hikyaku_wire::parcel::EventRef;

/// A thing on a server, which may be named too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnServer<T> {
    /// The server, where several are known.
    pub(crate) server: Option<String>,
    /// The thing.
    pub(crate) what: T,
}

/// Why a text names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error("{0}")]
    Room(#[from] hikyaku_chat::NameError),
    #[error("an event is named by its room and number: '#ops:17', or '#ops:2.17' with the epoch")]
    Event,
    #[error("'{}' is one device of a person: files can be sent to one, and everything else is everywhere", hikyaku::printable(.0))]
    Device(String),
    #[error("a path below ':' has at most {MAX_COMPONENTS} parts, none of them empty, '.' or '..'")]
    Path,
}

/// `ops`, `#ops`, `@ben` or `SERVER/#ops`.
pub(crate) fn room(text: &str) -> Result<OnServer<RoomName>, ReferenceError> {
    let (server, rest) = split_server(text);
    Ok(OnServer { server, what: named(rest)? })
}

fn named(text: &str) -> Result<RoomName, ReferenceError> {
    if text.starts_with('@') && text.contains('/') {
        return Err(ReferenceError::Device(text.to_owned()));
    }
    Ok(RoomName::parse_any(text)?)
}

/// A room as people write it: `#ops`, `@ben`. The name may be a peer's.
pub(crate) fn place(name: &str) -> String {
    let sign = if name.starts_with('@') { "" } else { "#" };
    format!("{sign}{}", hikyaku::printable(name))
}

/// `#ops:17`, `ops:17`, `#ops:2.17` or `SERVER/#ops:17`.
pub(crate) fn event(text: &str) -> Result<OnServer<EventRef>, ReferenceError> {
    let (server, rest) = split_server(text);
    let (name, number) = rest.rsplit_once(':').ok_or(ReferenceError::Event)?;
    let (epoch, seq) = match number.split_once('.') {
        Some((epoch, seq)) => (Some(epoch.parse().map_err(|_| ReferenceError::Event)?), seq),
        None => (None, number),
    };
    let seq = seq.parse().map_err(|_| ReferenceError::Event)?;
    let room = named(name)?.as_str().to_owned();
    Ok(OnServer { server, what: EventRef { room, epoch, seq } })
}

/// Where files go: `#ops`, `@ben`, `@ben/laptop`, `:` or `:sub/dir`, each with an optional `SERVER/` in front.
pub(crate) fn target(text: &str) -> Result<OnServer<Target>, ReferenceError> {
    let (server, rest) = split_server(text);
    if let Some(path) = rest.strip_prefix(':') {
        return Ok(OnServer { server, what: Target::Drop(components(path)?) });
    }
    let what = match rest.strip_prefix('@').and_then(|rest| rest.split_once('/')) {
        Some((person, device)) if !device.is_empty() => {
            let room = named(&format!("@{person}"))?;
            Target::Device(room.as_str().to_owned(), device.to_owned())
        }
        _ => Target::Room(named(rest)?.as_str().to_owned()),
    };
    Ok(OnServer { server, what })
}

fn components(path: &str) -> Result<Vec<Component>, ReferenceError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<_> = path.split('/').collect();
    if parts.len() > MAX_COMPONENTS || parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Err(ReferenceError::Path);
    }
    Ok(parts.into_iter().map(|part| Component(part.as_bytes().to_vec())).collect())
}

/// `SERVER/rest`: only where what follows begins like a room or a path, so that `:a/b` stays whole.
fn split_server(text: &str) -> (Option<String>, &str) {
    match text.split_once('/') {
        Some((server, rest)) if rest.starts_with(['#', ':', '@']) && !server.contains([':', '#', '@']) => {
            (Some(server.to_owned()), rest)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_to(parts: &[&str]) -> Target {
        Target::Drop(parts.iter().map(|part| Component(part.as_bytes().to_vec())).collect())
    }

    #[test]
    fn a_room_may_be_written_with_or_without_its_sign_and_with_its_server() {
        for text in ["ops", "#ops", "#OPS"] {
            assert_eq!(room(text).unwrap().what.as_str(), "ops");
        }
        let named = room("home/#ops").unwrap();
        assert_eq!((named.server.as_deref(), named.what.as_str()), (Some("home"), "ops"));
        assert!(room("#").is_err());
        assert!(room("#a b").is_err());
    }

    #[test]
    fn an_event_has_a_room_a_number_and_perhaps_an_epoch() {
        let of = |text| event(text).map(|event| (event.what.room, event.what.epoch, event.what.seq));
        assert_eq!(of("#ops:17"), Ok(("ops".into(), None, 17)));
        assert_eq!(of("ops:2.17"), Ok(("ops".into(), Some(2), 17)));
        assert_eq!(event("home/#ops:17").unwrap().server.as_deref(), Some("home"));
        for wrong in ["#ops", "#ops:", "#ops:x", "#ops:1.x", ":17", "#ops:-1"] {
            assert!(event(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_go_to_a_room_or_below_the_servers_directory() {
        assert_eq!(target("#lab").unwrap().what, Target::Room("lab".into()));
        assert_eq!(target(":").unwrap().what, drop_to(&[]));
        assert_eq!(target(":a/b").unwrap().what, drop_to(&["a", "b"]));
        assert_eq!(target(":a/b/").unwrap().what, drop_to(&["a", "b"]));
        assert_eq!(
            target("home/:a").unwrap(),
            OnServer { server: Some("home".into()), what: drop_to(&["a"]) }
        );
        for wrong in [":..", ":a/../b", ":/etc", ":a//b", ":."] {
            assert_eq!(target(wrong), Err(ReferenceError::Path), "{wrong}");
        }
        assert_eq!(target("home/@ana").unwrap().what, Target::Room("@ana".into()));
    }

    #[test]
    fn a_person_stands_where_a_room_may_and_a_device_where_files_go() {
        assert_eq!(room("@Ben").unwrap().what.as_str(), "@ben");
        assert_eq!(room("home/@ben").unwrap().server.as_deref(), Some("home"));
        assert_eq!(event("@ben:17").unwrap().what.room, "@ben");
        assert_eq!(event("@ben+ana:17").unwrap().what.room, "@ana+ben");
        assert!(matches!(room("@ben/laptop"), Err(ReferenceError::Device(_))));
        assert_eq!(target("@Ben/laptop").unwrap().what, Target::Device("@ben".into(), "laptop".into()));
        let named = target("home/@ben/the red one").unwrap();
        assert_eq!(named.server.as_deref(), Some("home"));
        assert_eq!(named.what, Target::Device("@ben".into(), "the red one".into()));
        assert!(matches!(target("@ben/"), Err(ReferenceError::Device(_))));
        assert_eq!(
            (place("ops"), place("@ana"), place("a\u{1b}")),
            ("#ops".into(), "@ana".into(), "#a\\u{1b}".into())
        );
    }
}
