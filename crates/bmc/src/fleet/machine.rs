//! A machine in memory: it starts, stops, uses its boot flags up, works a little, and echoes what
//! its serial port is sent.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    guid::Guid,
    machine::{
        BootFlags, Identity, Inventory, Machine, MachineError, PowerAction, PowerState, Readings,
        SerialLine,
        inventory::{Drive, Nic, Processor},
    },
};

const MEMORY_BYTES: u64 = 8 << 30;
const DISK_BYTES: u64 = 100 << 30;
const CPUS: u32 = 4;
/// Bytes that the serial line holds before its reader takes them.
const SERIAL_BYTES: usize = 1024;

/// The machine.
#[derive(Debug)]
pub struct FleetMachine {
    index: u16,
    guid: [u8; 16],
    latency: Duration,
    state: Mutex<State>,
    power: watch::Sender<PowerState>,
}

#[derive(Debug)]
struct State {
    /// Since when it is on.
    on_since: Option<Instant>,
    /// How long it was on before.
    on_before: Duration,
    flags: BootFlags,
    /// The flags of the last boot; `None` when it never booted.
    booted: Option<BootFlags>,
}

impl State {
    fn switch_off(&mut self) {
        if let Some(since) = self.on_since.take() {
            self.on_before += since.elapsed();
        }
    }

    /// Boots: flags for one boot are used up by it.
    fn boot(&mut self) {
        self.switch_off();
        self.on_since = Some(Instant::now());
        self.booted = Some(self.flags);
        self.flags.valid &= self.flags.persistent;
    }
}

impl FleetMachine {
    /// A machine that is off.
    #[must_use]
    pub fn new(index: u16, mut guid: [u8; 16], latency: Duration) -> Self {
        // A random GUID (RFC 9562, version 4).
        guid[6] = guid[6] & 0x0f | 0x40;
        guid[8] = guid[8] & 0x3f | 0x80;
        let state = State {
            on_since: None,
            on_before: Duration::ZERO,
            flags: BootFlags::NONE,
            booted: None,
        };
        let power = watch::Sender::new(PowerState::Off);
        Self { index, guid, latency, state: Mutex::new(state), power }
    }

    /// The flags that its last boot had; `None` before the first.
    #[must_use]
    pub fn booted(&self) -> Option<BootFlags> {
        self.state().booted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can stop half-way: a poisoned value is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
    }

    fn name(&self) -> String {
        format!("fleet-{:05}", self.index)
    }
}

#[async_trait]
impl Machine for FleetMachine {
    async fn power_state(&self) -> Result<PowerState, MachineError> {
        self.wait().await;
        let on = self.state().on_since.is_some();
        Ok(if on { PowerState::On } else { PowerState::Off })
    }

    async fn power(&self, action: PowerAction) -> Result<(), MachineError> {
        self.wait().await;
        let mut state = self.state();
        match (action, state.on_since.is_some()) {
            (PowerAction::On, false) | (PowerAction::Cycle | PowerAction::Reset, true) => {
                state.boot();
            }
            (PowerAction::Off | PowerAction::Soft, _) => state.switch_off(),
            (PowerAction::On | PowerAction::Diag, true) => {}
            (PowerAction::Cycle | PowerAction::Reset | PowerAction::Diag, false) => {
                return Err(MachineError::WrongState);
            }
        }
        let on = state.on_since.is_some();
        self.power.send_replace(if on { PowerState::On } else { PowerState::Off });
        Ok(())
    }

    async fn boot_flags(&self) -> Result<BootFlags, MachineError> {
        self.wait().await;
        Ok(self.state().flags)
    }

    async fn set_boot_flags(&self, flags: BootFlags) -> Result<(), MachineError> {
        self.wait().await;
        self.state().flags = flags;
        Ok(())
    }

    fn power_changes(&self) -> Option<watch::Receiver<PowerState>> {
        Some(self.power.subscribe())
    }

    fn identity(&self) -> Identity {
        let mut device = self.guid;
        device[15] ^= 1;
        Identity {
            device_guid: Guid(device),
            system_guid: Guid(self.guid),
            firmware: (1, 0),
            name: self.name(),
        }
    }

    async fn powered_minutes(&self) -> Option<u32> {
        let state = self.state();
        let on = state.on_before + state.on_since.map_or(Duration::ZERO, |since| since.elapsed());
        u32::try_from(on.as_secs() / 60).ok()
    }

    fn inventory(&self) -> Inventory {
        let [high, low] = self.index.to_be_bytes();
        let name = self.name();
        Inventory {
            manufacturer: "undercloud".to_owned(),
            model: "Fleet machine".to_owned(),
            serial_number: name.clone(),
            asset_tag: String::new(),
            firmware_version: "1.0".to_owned(),
            uefi: true,
            secure_boot: None,
            processors: vec![Processor {
                model: "Simulated".to_owned(),
                cores: CPUS,
                threads: CPUS,
            }],
            memory_mib: MEMORY_BYTES >> 20,
            // Locally administered.
            nics: vec![Nic {
                name: "eth0".to_owned(),
                mac: [0x02, 0x00, 0x00, 0x00, high, low],
                speed_mbps: Some(10_000),
            }],
            drives: vec![Drive {
                name: "disk0".to_owned(),
                serial_number: format!("{name}-disk0"),
                model: "Simulated".to_owned(),
                capacity_bytes: DISK_BYTES,
            }],
        }
    }

    /// A quarter of its processors' time and of its memory, eight megabytes a second to disk.
    async fn readings(&self) -> Result<Readings, MachineError> {
        self.wait().await;
        let state = self.state();
        let Some(since) = state.on_since else {
            return Ok(Readings {
                cpu_count: CPUS,
                memory_max_bytes: MEMORY_BYTES,
                ..Readings::default()
            });
        };
        let on = since.elapsed();
        let millis = u64::try_from(on.as_millis()).unwrap_or(u64::MAX);
        Ok(Readings {
            cpu_time: on,
            cpu_count: CPUS,
            memory_bytes: MEMORY_BYTES / 4,
            memory_max_bytes: MEMORY_BYTES,
            disk_written_bytes: millis.saturating_mul(8 << 20) / 1000,
            ..Readings::default()
        })
    }

    async fn open_serial(&self) -> Result<SerialLine, MachineError> {
        self.wait().await;
        // What is written into the one end of the pipe comes out of the same end.
        let echo = tokio::io::simplex(SERIAL_BYTES);
        Ok(SerialLine {
            stream: Box::new(tokio::io::join(echo.0, echo.1)),
            send_break: None,
            held: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::machine::BootDevice;

    #[tokio::test]
    async fn boot_flags_are_used_up_once() {
        let machine = FleetMachine::new(1, [7; 16], Duration::ZERO);
        let once = BootFlags { device: BootDevice::Pxe, efi: true, persistent: false, valid: true };
        machine.set_boot_flags(once).await.expect("set");
        machine.power(PowerAction::On).await.expect("on");
        assert_eq!(machine.booted(), Some(once));
        machine.power(PowerAction::Reset).await.expect("reset");
        assert_eq!(machine.booted().map(|flags| flags.valid), Some(false));
        let always = BootFlags { persistent: true, ..once };
        machine.set_boot_flags(always).await.expect("set");
        for _ in 0..2 {
            machine.power(PowerAction::Cycle).await.expect("cycle");
            assert_eq!(machine.booted(), Some(always));
        }
        machine.power(PowerAction::Soft).await.expect("soft");
        assert_eq!(machine.power(PowerAction::Reset).await, Err(MachineError::WrongState));
    }

    #[tokio::test]
    async fn the_serial_line_echoes() {
        let machine = FleetMachine::new(1, [7; 16], Duration::ZERO);
        let mut line = machine.open_serial().await.expect("line");
        line.stream.write_all(b"hello").await.expect("write");
        let mut heard = [0; 5];
        line.stream.read_exact(&mut heard).await.expect("read");
        assert_eq!(&heard, b"hello");
    }
}
