//! A rule that the peer broke: what closes a connection with a transport error.

use crate::TransportCode;
use std::borrow::Cow;

/// The code, the frame and the words of a transport error that this side found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: TransportCode,
    pub(crate) frame_type: u64,
    pub(crate) reason: Cow<'static, str>,
}

/// One constructor for each code, so that no place chooses a number.
macro_rules! constructors {
    ($($name:ident = $code:ident;)*) => {
        impl Violation {
            $(pub(crate) fn $name(reason: impl Into<Cow<'static, str>>) -> Self {
                Self { code: TransportCode::$code, frame_type: 0, reason: reason.into() }
            })*
        }
    };
}

constructors! {
    encoding = FRAME_ENCODING_ERROR;
    flow_control = FLOW_CONTROL_ERROR;
    stream_limit = STREAM_LIMIT_ERROR;
    stream_state = STREAM_STATE_ERROR;
    final_size = FINAL_SIZE_ERROR;
    parameter = TRANSPORT_PARAMETER_ERROR;
    protocol = PROTOCOL_VIOLATION;
}

impl Violation {
    /// Names the frame that broke the rule, unless it has been named already.
    pub(crate) fn in_frame(mut self, ty: u64) -> Self {
        if self.frame_type == 0 {
            self.frame_type = ty;
        }
        self
    }
}
