//! A virtual BMC in front of a machine that exists in memory only, to try clients against:
//!
//! `cargo run -p undercloud-bmc --example virtual_bmc -- 127.0.0.1:6230 admin PASSWORD`

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{
    error::Error,
    net::UdpSocket,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use undercloud_bmc::{
    credentials::Credentials,
    guid::Guid,
    ipmi::server::Server,
    machine::{BootFlags, Identity, Machine, MachineError, PowerAction, PowerState},
};

struct Memory(Mutex<(PowerState, BootFlags)>);

#[async_trait]
impl Machine for Memory {
    async fn power_state(&self) -> Result<PowerState, MachineError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    async fn power(&self, action: PowerAction) -> Result<(), MachineError> {
        println!("{action:?}");
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match action {
            PowerAction::Off | PowerAction::Soft => state.0 = PowerState::Off,
            PowerAction::On | PowerAction::Cycle | PowerAction::Reset => state.0 = PowerState::On,
            PowerAction::Diag => {}
        }
        if action.boots() {
            state.1.valid &= state.1.persistent;
        }
        Ok(())
    }

    async fn boot_flags(&self) -> Result<BootFlags, MachineError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    async fn set_boot_flags(&self, flags: BootFlags) -> Result<(), MachineError> {
        println!("{flags:?}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = flags;
        Ok(())
    }

    fn identity(&self) -> Identity {
        Identity {
            device_guid: Guid([1; 16]),
            system_guid: Guid([2; 16]),
            firmware: (1, 0),
            name: "memory".to_owned(),
        }
    }

    async fn powered_minutes(&self) -> Option<u32> {
        Some(0)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, user, password] = arguments.as_slice() else {
        return Err("usage: virtual_bmc ADDRESS:PORT USER PASSWORD".into());
    };
    let machine = Memory(Mutex::new((PowerState::Off, BootFlags::NONE)));
    let credentials = Credentials::new(user, password)?;
    let server = Server::start(UdpSocket::bind(address)?, credentials, Arc::new(machine))?;
    println!("listening on {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
