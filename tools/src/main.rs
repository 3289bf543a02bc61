//! The `erstwhile` command.

fn main() {}
