//! The frames of QMux: QUIC version 1's frames (RFC 9000 §19), DATAGRAM (RFC 9221) and two of the draft's own.
//!
//! One file per frame. [`decode`] reads one frame from the front of a record that may not have arrived completely:
//! it says [`DecodeError::Incomplete`] when more bytes decide, and never looks further than the record. Of STREAM
//! it reads the header only, so that payloads can be passed on as they arrive. Spec: chapter 2.

mod connection_close;
mod cursor;
mod data_blocked;
mod datagram;
mod max_data;
mod max_stream_data;
mod max_streams;
mod padding;
mod ping;
mod reset_stream;
mod stop_sending;
mod stream;
mod stream_data_blocked;
mod streams_blocked;
mod transport_parameters;

pub(crate) use connection_close::ConnectionClose;
pub(crate) use cursor::{Cursor, DecodeError};
pub(crate) use data_blocked::DataBlocked;
pub(crate) use datagram::Datagram;
pub(crate) use max_data::MaxData;
pub(crate) use max_stream_data::MaxStreamData;
pub(crate) use max_streams::MaxStreams;
pub(crate) use padding::Padding;
pub(crate) use ping::Ping;
pub(crate) use reset_stream::ResetStream;
pub(crate) use stop_sending::StopSending;
pub(crate) use stream::StreamHeader;
pub(crate) use stream_data_blocked::StreamDataBlocked;
pub(crate) use streams_blocked::StreamsBlocked;
pub(crate) use transport_parameters::TransportParametersFrame;

use crate::violation::Violation;
use hikyaku_wire::varint;

/// No frame but STREAM, DATAGRAM, CONNECTION_CLOSE and QX_TRANSPORT_PARAMETERS is longer than this.
pub(crate) const MAX_CONTROL_FRAME: usize = 32;

/// One frame; the borrowed parts lie in the record it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Padding(Padding),
    ResetStream(ResetStream),
    StopSending(StopSending),
    Stream(StreamHeader),
    MaxData(MaxData),
    MaxStreamData(MaxStreamData),
    MaxStreams(MaxStreams),
    DataBlocked(DataBlocked),
    StreamDataBlocked(StreamDataBlocked),
    StreamsBlocked(StreamsBlocked),
    ConnectionClose(ConnectionClose<'a>),
    Datagram(Datagram<'a>),
    TransportParameters(TransportParametersFrame<'a>),
    Ping(Ping),
}

/// Reads the frame at the front of `bytes`, of which the record holds `left` in all (arrived or not).
///
/// Returns the frame and how many bytes it took; a STREAM frame takes its header only.
pub(crate) fn decode(bytes: &[u8], left: usize) -> Result<(Frame<'_>, usize), DecodeError> {
    let mut cursor = Cursor::new(bytes, left);
    let ty = cursor.varint()?;
    cursor.set_frame_type(ty);
    //= S2.14
    if !varint::is_shortest(ty, cursor.position()) {
        return Err(Violation::protocol("the frame type is not in its shortest form").in_frame(ty).into());
    }
    let frame = match ty {
        Padding::TYPE => Frame::Padding(Padding::decode(&mut cursor)),
        ResetStream::TYPE => Frame::ResetStream(ResetStream::decode(&mut cursor)?),
        StopSending::TYPE => Frame::StopSending(StopSending::decode(&mut cursor)?),
        StreamHeader::FIRST_TYPE..=StreamHeader::LAST_TYPE => {
            Frame::Stream(StreamHeader::decode(ty, &mut cursor)?)
        }
        MaxData::TYPE => Frame::MaxData(MaxData::decode(&mut cursor)?),
        MaxStreamData::TYPE => Frame::MaxStreamData(MaxStreamData::decode(&mut cursor)?),
        MaxStreams::TYPE_BI | MaxStreams::TYPE_UNI => Frame::MaxStreams(MaxStreams::decode(ty, &mut cursor)?),
        DataBlocked::TYPE => Frame::DataBlocked(DataBlocked::decode(&mut cursor)?),
        StreamDataBlocked::TYPE => Frame::StreamDataBlocked(StreamDataBlocked::decode(&mut cursor)?),
        StreamsBlocked::TYPE_BI | StreamsBlocked::TYPE_UNI => {
            Frame::StreamsBlocked(StreamsBlocked::decode(ty, &mut cursor)?)
        }
        ConnectionClose::TYPE_TRANSPORT | ConnectionClose::TYPE_APPLICATION => {
            Frame::ConnectionClose(ConnectionClose::decode(ty, &mut cursor)?)
        }
        Datagram::TYPE | Datagram::TYPE_WITH_LENGTH => Frame::Datagram(Datagram::decode(ty, &mut cursor)?),
        TransportParametersFrame::TYPE => {
            Frame::TransportParameters(TransportParametersFrame::decode(&mut cursor)?)
        }
        Ping::TYPE_REQUEST | Ping::TYPE_RESPONSE => Frame::Ping(Ping::decode(ty, &mut cursor)?),
        //= S2.14
        // Prohibited (PING, ACK, CRYPTO, …) and unknown frames alike: an extension would have been negotiated.
        _ => return Err(Violation::encoding("the frame type is unknown or prohibited").in_frame(ty).into()),
    };
    Ok((frame, cursor.position()))
}
