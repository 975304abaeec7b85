//! Whom a text means: `@name` of somebody on the server.

use hikyaku::Connection;
use hikyaku_accounts::AccountsClient;
use hikyaku_wire::chat::UserId;

/// As many as a server takes by default.
const MOST: usize = 64;

/// The users that a text mentions, as far as the server has them.
pub(crate) async fn of(text: &str, connection: &Connection) -> hikyaku::Result<Vec<UserId>> {
    let users = AccountsClient::new(connection.clone()).users().await?;
    let meant = users.iter().filter(|user| is_mentioned(text, &user.name));
    Ok(meant.map(|user| UserId(user.id.0)).take(MOST).collect())
}

/// Whether `@name` stands in a text, as a word of its own.
pub(crate) fn is_mentioned(text: &str, name: &str) -> bool {
    text.match_indices('@').any(|(at, sign)| {
        let (before, after) =
            (text.get(..at).unwrap_or_default(), text.get(at + sign.len()..).unwrap_or_default());
        let Some(after) = after.strip_prefix(name) else { return false };
        let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        // A full stop belongs to a name only if the name goes on behind it.
        let mut rest = after.chars();
        let ends = match rest.next() {
            Some('.') => !rest.next().is_some_and(goes_on),
            next => !next.is_some_and(goes_on),
        };
        ends && !before.chars().next_back().is_some_and(goes_on)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_mentioned_by_its_sign_and_as_a_word_of_its_own() {
        for text in ["@ana", "@ana?", "thanks, @ana.", "(@ana)", "@ben @ana", "@ana\u{2014}look"] {
            assert!(is_mentioned(text, "ana"), "{text}");
        }
        for text in ["ana", "@anabel", "@ana-b", "me@ana", "@ ana", "@an", "@ana.b", ""] {
            assert!(!is_mentioned(text, "ana"), "{text}");
        }
        assert!(is_mentioned("@\u{98db}\u{811a}", "\u{98db}\u{811a}"));
    }
}
