//! `hikyaku who`: who looks at a room now.

use clap::Args;
use hikyaku::printable;
use hikyaku_chat::ChatClient;
use hikyaku_wire::chat::{Present, RoomRef, State};
use serde::Serialize;

use crate::args::Global;
use crate::client::Client;
use crate::exit::{Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::reference;

#[derive(Debug, Args)]
pub(crate) struct Who {
    /// The room, '#' in front or not
    room: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonWho {
    v: u32,
    r#type: &'static str,
    room: String,
    count: u32,
    here: Vec<JsonSomeone>,
}

#[derive(Serialize)]
struct JsonSomeone {
    user: String,
    name: String,
    typing: bool,
}

impl Who {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let room = reference::room(&self.room).map_err(|error| Trouble::usage(error.to_string()))?;
        let client = Client::of(global, room.server.as_deref())?;
        let connection = client.connected().await?;
        let name = room.what.as_str();
        let asked = ChatClient::new(connection.clone()).who(RoomRef::Name(name.to_owned())).await;
        let present = asked.map_err(|error| Trouble::from(error).during(format_args!("#{name}")))?;
        connection.close().await;
        if self.json {
            return output::json(&JsonWho {
                v: JSON_VERSION,
                r#type: "who",
                room: name.to_owned(),
                count: present.count,
                here: present
                    .someone
                    .into_iter()
                    .map(|one| JsonSomeone {
                        user: one.user.to_string(),
                        name: one.name,
                        typing: one.state == State::Typing,
                    })
                    .collect(),
            });
        }
        for line in lines(&present) {
            output::line(line)?;
        }
        if present.count == 0 {
            output::note(format_args!("nobody looks at #{name} now"));
        }
        Ok(())
    }
}

/// A line for each, and one for those who are not named.
fn lines(present: &Present) -> Vec<String> {
    let named = present.someone.iter().map(|one| match one.state {
        State::Typing => format!("{}  typing", printable(&one.name)),
        _ => printable(&one.name).to_string(),
    });
    let mut lines: Vec<String> = named.collect();
    lines.sort();
    let more = usize::try_from(present.count).unwrap_or(usize::MAX).saturating_sub(lines.len());
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikyaku_wire::chat::{RoomId, Someone, UserId};

    #[test]
    fn everybody_is_named_and_those_left_out_are_counted() {
        let someone = |name: &str, state| Someone { user: UserId([1; 16]), name: name.into(), state };
        let named = vec![someone("cho\u{1b}", State::Here), someone("ben", State::Typing)];
        let present = Present { room: RoomId([1; 16]), count: 5, someone: named };
        assert_eq!(lines(&present), ["ben  typing", "cho\\u{1b}", "and 3 more"]);
    }
}
