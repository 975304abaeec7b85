//! Files: tree hash, journal, jail, vault, server side, client side.

#![forbid(unsafe_code)]
