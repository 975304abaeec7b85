//! The room log: rules, server side, client side.

#![forbid(unsafe_code)]
