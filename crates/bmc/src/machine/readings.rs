//! What a machine measures of itself, for sensors.
//!
//! A virtual machine has no thermometer: what can be read of it truly is the time it used and the
//! bytes it moved. Rates are made of two readings by whoever shows them.

use std::time::Duration;

/// Counters since the machine was switched on, and gauges as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// Processor time used, over all processors.
    pub cpu_time: Duration,
    /// Processors that time is spread over.
    pub cpu_count: u32,
    /// Memory in use on the host, in bytes.
    pub memory_bytes: u64,
    /// Memory that the machine may use, in bytes.
    pub memory_max_bytes: u64,
    /// Read from disks, in bytes.
    pub disk_read_bytes: u64,
    /// Written to disks, in bytes.
    pub disk_written_bytes: u64,
    /// Received by network interfaces, in bytes.
    pub nic_received_bytes: u64,
    /// Sent by network interfaces, in bytes.
    pub nic_sent_bytes: u64,
}
