//! The cloud's steps on a machine that is a directory, with programs and APIs that are functions.
//! Each step is done twice: the second time changes nothing and starts as little as it can.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "a test program"
)]

mod fake;
mod firewall;
mod health;
mod identity;
mod image_store;
mod images;
mod network;
mod services;
