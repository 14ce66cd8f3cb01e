//! Runs on the machines: in the ramdisk and in the installed system.

fn main() {}
