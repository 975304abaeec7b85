//! QMux: QUIC's streams and datagrams on one ordered byte stream, as a state machine without I/O.

#![forbid(unsafe_code)]
