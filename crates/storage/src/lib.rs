//! The storage seam: traits, in-memory models, conformance suites.

#![forbid(unsafe_code)]
