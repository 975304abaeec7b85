//! An application protocol of your own in 25 lines, over TCP and QUIC.

#![forbid(unsafe_code)]
