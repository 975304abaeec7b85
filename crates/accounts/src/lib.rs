//! Users, devices, roles, invites, and the enroll/1 protocol.

#![forbid(unsafe_code)]
