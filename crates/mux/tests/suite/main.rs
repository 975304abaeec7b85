//! What a QMux connection promises, one file per topic. `pair` joins two connections on a virtual clock; `raw` is a
//! peer made of bytes, for everything a well-behaved one never says.

mod close;
mod datagrams;
mod flow;
mod hostile;
mod input;

mod memory;
mod model;

mod pair;
mod raw;
mod records;
mod refusals;
mod streams;
