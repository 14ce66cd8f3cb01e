//! The undercloud command and daemon.

fn main() {}
