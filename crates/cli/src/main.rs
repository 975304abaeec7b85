//! The program `hikyaku`.

fn main() {}
