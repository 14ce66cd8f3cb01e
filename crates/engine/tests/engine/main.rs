//! The engine with fake machines: the whole life, every failure's sentence, and a crash after every
//! write. The machines, their BMCs and their agents live outside the "process": they go on while
//! the daemon is dead.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod clock;
mod consent;
mod crash;
mod drivers;
mod failures;
mod identity;
mod lab;
mod life;
mod queue;
mod rack;
