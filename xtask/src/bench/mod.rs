//! Benchmarks: each prints a table of what it found beside what it may be.

mod bmc;
mod cloud;
mod nodes;
mod process;

pub(crate) use self::{bmc::bmc, cloud::cloud, nodes::nodes};
