//! Transport parameters: what an endpoint declares before anything else (RFC 9000 §18, draft §5).
//!
//! QMux permits seven of QUIC's own parameters and prohibits the rest; the datagram and record sizes come from
//! extensions. Anything else is ignored, and one reserved parameter is always sent so that peers stay able to.

use crate::frame::MaxStreams;
use crate::violation::Violation;
use hikyaku_wire::varint;

const MAX_IDLE_TIMEOUT: u64 = 0x01;
const INITIAL_MAX_DATA: u64 = 0x04;
const INITIAL_MAX_STREAM_DATA_BIDI_LOCAL: u64 = 0x05;
const INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: u64 = 0x06;
const INITIAL_MAX_STREAM_DATA_UNI: u64 = 0x07;
const INITIAL_MAX_STREAMS_BIDI: u64 = 0x08;
const INITIAL_MAX_STREAMS_UNI: u64 = 0x09;
const MAX_DATAGRAM_FRAME_SIZE: u64 = 0x20;
const MAX_RECORD_SIZE: u64 = 0x0571_c594_29cd_0845;

/// The Size of the largest record unless a peer declares more, and the smallest value it may declare.
pub(crate) const DEFAULT_MAX_RECORD_SIZE: u64 = 16_382;

/// Parameters that QUIC defines and QMux prohibits, in the order of their numbers.
const PROHIBITED: [(u64, &str); 10] = [
    (0x00, "original_destination_connection_id"),
    (0x02, "stateless_reset_token"),
    (0x03, "max_udp_payload_size"),
    (0x0a, "ack_delay_exponent"),
    (0x0b, "max_ack_delay"),
    (0x0c, "disable_active_migration"),
    (0x0d, "preferred_address"),
    (0x0e, "active_connection_id_limit"),
    (0x0f, "initial_source_connection_id"),
    (0x10, "retry_source_connection_id"),
];

/// The parameters in `bytes` that have names here and whole numbers as values, for those who look.
pub(crate) fn named(mut bytes: &[u8]) -> Vec<(&'static str, u64)> {
    let name = |id| match id {
        MAX_IDLE_TIMEOUT => Some("max_idle_timeout"),
        INITIAL_MAX_DATA => Some("initial_max_data"),
        INITIAL_MAX_STREAM_DATA_BIDI_LOCAL => Some("initial_max_stream_data_bidi_local"),
        INITIAL_MAX_STREAM_DATA_BIDI_REMOTE => Some("initial_max_stream_data_bidi_remote"),
        INITIAL_MAX_STREAM_DATA_UNI => Some("initial_max_stream_data_uni"),
        INITIAL_MAX_STREAMS_BIDI => Some("initial_max_streams_bidi"),
        INITIAL_MAX_STREAMS_UNI => Some("initial_max_streams_uni"),
        MAX_DATAGRAM_FRAME_SIZE => Some("max_datagram_frame_size"),
        MAX_RECORD_SIZE => Some("max_record_size"),
        _ => None,
    };
    let mut all = Vec::new();
    while let (Ok(id), Ok(length)) = (take_varint(&mut bytes), take_varint(&mut bytes)) {
        let Some((value, rest)) =
            usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length))
        else {
            break;
        };
        bytes = rest;
        all.extend(name(id).zip(integer(value).ok()));
    }
    all
}

/// What one endpoint declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// Milliseconds; 0 means never.
    pub(crate) max_idle_timeout: u64,
    pub(crate) initial_max_data: u64,
    pub(crate) initial_max_stream_data_bidi_local: u64,
    pub(crate) initial_max_stream_data_bidi_remote: u64,
    pub(crate) initial_max_stream_data_uni: u64,
    pub(crate) initial_max_streams_bidi: u64,
    pub(crate) initial_max_streams_uni: u64,
    /// 0 means that datagrams are not accepted.
    pub(crate) max_datagram_frame_size: u64,
    pub(crate) max_record_size: u64,
}

impl Default for Parameters {
    /// What holds for a peer that declares nothing.
    fn default() -> Self {
        Self {
            max_idle_timeout: 0,
            initial_max_data: 0,
            initial_max_stream_data_bidi_local: 0,
            initial_max_stream_data_bidi_remote: 0,
            initial_max_stream_data_uni: 0,
            initial_max_streams_bidi: 0,
            initial_max_streams_uni: 0,
            max_datagram_frame_size: 0,
            max_record_size: DEFAULT_MAX_RECORD_SIZE,
        }
    }
}

impl Parameters {
    /// The field that a parameter's number names.
    fn field(&mut self, id: u64) -> Option<&mut u64> {
        Some(match id {
            MAX_IDLE_TIMEOUT => &mut self.max_idle_timeout,
            INITIAL_MAX_DATA => &mut self.initial_max_data,
            INITIAL_MAX_STREAM_DATA_BIDI_LOCAL => &mut self.initial_max_stream_data_bidi_local,
            INITIAL_MAX_STREAM_DATA_BIDI_REMOTE => &mut self.initial_max_stream_data_bidi_remote,
            INITIAL_MAX_STREAM_DATA_UNI => &mut self.initial_max_stream_data_uni,
            INITIAL_MAX_STREAMS_BIDI => &mut self.initial_max_streams_bidi,
            INITIAL_MAX_STREAMS_UNI => &mut self.initial_max_streams_uni,
            MAX_DATAGRAM_FRAME_SIZE => &mut self.max_datagram_frame_size,
            MAX_RECORD_SIZE => &mut self.max_record_size,
            _ => return None,
        })
    }

    /// The parameters and one reserved one (RFC 9000 §18.1: `31 * N + 27`), which `grease` chooses.
    pub(crate) fn encode(&self, grease: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        let defaults = Self::default();
        for (id, value, default) in [
            (MAX_IDLE_TIMEOUT, self.max_idle_timeout, defaults.max_idle_timeout),
            (INITIAL_MAX_DATA, self.initial_max_data, 0),
            (INITIAL_MAX_STREAM_DATA_BIDI_LOCAL, self.initial_max_stream_data_bidi_local, 0),
            (INITIAL_MAX_STREAM_DATA_BIDI_REMOTE, self.initial_max_stream_data_bidi_remote, 0),
            (INITIAL_MAX_STREAM_DATA_UNI, self.initial_max_stream_data_uni, 0),
            (INITIAL_MAX_STREAMS_BIDI, self.initial_max_streams_bidi, 0),
            (INITIAL_MAX_STREAMS_UNI, self.initial_max_streams_uni, 0),
            (MAX_DATAGRAM_FRAME_SIZE, self.max_datagram_frame_size, 0),
            (MAX_RECORD_SIZE, self.max_record_size, DEFAULT_MAX_RECORD_SIZE),
        ] {
            if value != default {
                varint::encode(id, &mut out);
                varint::encode(varint::len(value) as u64, &mut out);
                varint::encode(value, &mut out);
            }
        }
        varint::encode(reserved(grease), &mut out);
        varint::encode(4, &mut out);
        out.extend_from_slice(&grease.to_be_bytes()[..4]);
        out
    }

    /// Reads what the peer declared.
    //= S2.20
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, Violation> {
        let mut parameters = Self::default();
        let mut seen = Vec::new();
        while !bytes.is_empty() {
            let id = take_varint(&mut bytes)?;
            let length = take_varint(&mut bytes)?;
            let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len());
            let (value, rest) = bytes.split_at(length.ok_or_else(cut)?);
            bytes = rest;
            if let Ok(at) = PROHIBITED.binary_search_by_key(&id, |(id, _)| *id) {
                return Err(Violation::parameter(format!("QMux prohibits {}", PROHIBITED[at].1)));
            }
            //= S2.21
            if let Some(field) = parameters.field(id) {
                *field = integer(value)?;
            }
            // At most a record of them; sorted below, so that many unknown ones cost little.
            seen.push(id);
        }
        seen.sort_unstable();
        if let Some([id, _]) = seen.array_windows().find(|[one, other]| one == other) {
            return Err(Violation::parameter(format!("transport parameter {id:#x} is there twice")));
        }
        parameters.check()
    }

    /// The ranges of RFC 9000 §18.2 and the draft.
    fn check(self) -> Result<Self, Violation> {
        if self.initial_max_streams_bidi > MaxStreams::LIMIT
            || self.initial_max_streams_uni > MaxStreams::LIMIT
        {
            return Err(Violation::parameter("initial_max_streams exceeds 2^60"));
        }
        if self.max_record_size < DEFAULT_MAX_RECORD_SIZE {
            return Err(Violation::parameter(format!(
                "max_record_size {} is below {DEFAULT_MAX_RECORD_SIZE}",
                self.max_record_size
            )));
        }
        Ok(self)
    }
}

/// A parameter number that means nothing and never will.
fn reserved(grease: u64) -> u64 {
    31 * (grease % (1 << 32)) + 27
}

/// A value that is one varint and nothing else.
fn integer(value: &[u8]) -> Result<u64, Violation> {
    match varint::decode(value) {
        Some((number, length)) if length == value.len() => Ok(number),
        _ => Err(Violation::parameter("a transport parameter is not one integer")),
    }
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Violation> {
    let (value, length) = varint::decode(bytes).ok_or_else(cut)?;
    *bytes = bytes.get(length..).unwrap_or_default();
    Ok(value)
}

fn cut() -> Violation {
    Violation::parameter("the transport parameters end inside one of them")
}
