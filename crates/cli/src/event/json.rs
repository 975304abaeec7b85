//! Events as JSON: raw, one object an event, whatever later events say about it. `docs/json.md` has the keys.

use hikyaku_chat::Chain;
use hikyaku_wire::chat::{Kind, MemberRole, RoomId};
use hikyaku_wire::parcel::EndStatus;
use serde::Serialize;

use super::Shown;
use crate::output::JSON_VERSION;
use crate::time;

/// One event as JSON; version 1.
#[derive(Debug, Serialize)]
pub(crate) struct JsonEvent {
    v: u32,
    r#type: &'static str,
    room: String,
    room_id: String,
    epoch: u32,
    seq: u64,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refs: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mentions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parcel: Option<JsonParcel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<JsonMembership>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unreadable: bool,
}

#[derive(Debug, Serialize)]
struct JsonMembership {
    user: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct JsonParcel {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<String>,
}

impl Shown<'_> {
    /// The event as JSON, with the chain's value after it where that is known.
    pub(crate) fn json(&self, room: RoomId, chain: Option<Chain>) -> JsonEvent {
        let envelope = self.event.as_ref().map(|event| &event.envelope);
        let kind = envelope.map(|envelope| envelope.kind);
        let parcel = self.json_parcel(kind);
        let member = match kind {
            Some(Kind::JOIN | Kind::LEAVE | Kind::INVITE | Kind::ROLE) => self.membership(),
            _ => None,
        };
        let member = member.map(|member| JsonMembership {
            user: member.user.to_string(),
            name: member.name,
            role: member.role.map(MemberRole::name),
        });
        JsonEvent {
            v: JSON_VERSION,
            r#type: "event",
            room: self.room.to_owned(),
            room_id: room.to_string(),
            epoch: self.epoch,
            seq: self.seq,
            kind: kind.map_or_else(|| "unknown".to_owned(), |kind| kind.to_string()),
            author: envelope.map(|envelope| envelope.name.clone()),
            user: envelope.map(|envelope| envelope.author.to_string()),
            device: envelope.map(|envelope| hikyaku::KeyId::from_bytes(envelope.device.0).to_string()),
            id: envelope.map(|envelope| envelope.id.to_string()),
            ts: envelope.map(|envelope| time::utc(envelope.ts_ms)),
            refs: envelope.map(|envelope| envelope.refs.clone()).unwrap_or_default(),
            mentions: envelope
                .map_or(Vec::new(), |envelope| envelope.mentions.iter().map(ToString::to_string).collect()),
            text: if parcel.is_some() || member.is_some() { None } else { self.text() },
            parcel,
            member,
            chain: chain.map(|chain| chain.0.to_string()),
            deleted: self.event.as_ref().is_some_and(|event| event.body.is_none()),
            unreadable: self.event.is_none(),
        }
    }

    fn json_parcel(&self, kind: Option<Kind>) -> Option<JsonParcel> {
        match kind {
            Some(Kind::PARCEL) => self.parcel().map(|parcel| JsonParcel {
                name: Some(String::from_utf8_lossy(&parcel.name).into_owned()),
                transfer: Some(parcel.transfer.to_string()),
                status: None,
                root: None,
                bytes: parcel.bytes,
                entries: parcel.entries,
                device: parcel
                    .device
                    .as_ref()
                    .map(|device| hikyaku::KeyId::from_bytes(device.id.0).to_string()),
                device_name: parcel.device.map(|device| device.name),
            }),
            Some(Kind::PARCEL_END) => self.parcel_end().map(|end| JsonParcel {
                name: None,
                transfer: None,
                status: Some(match end.status {
                    EndStatus::Settled => "settled",
                    EndStatus::Aborted => "aborted",
                    EndStatus::Expired => "expired",
                }),
                root: end.root.map(|root| root.to_string()),
                bytes: end.bytes,
                entries: end.entries,
                device: None,
                device_name: None,
            }),
            _ => None,
        }
    }
}
