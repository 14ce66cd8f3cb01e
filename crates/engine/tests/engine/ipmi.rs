//! The engine's IPMI driver against a virtual BMC, over UDP on the loopback.

use std::{
    net::UdpSocket,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use undercloud_bmc::{
    credentials::Credentials,
    guid::Guid,
    ipmi::{
        client::Options,
        server::{Server, ServerHandle},
    },
    machine::{self, BootFlags, Identity, Machine, MachineError, PowerAction},
};
use undercloud_engine::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder, driver::IpmiFactory};
use undercloud_model::{BootDevice, BootMode, PowerState, Secret, node::Driver};

struct Memory(Mutex<(machine::PowerState, BootFlags)>);

#[async_trait]
impl Machine for Memory {
    async fn power_state(&self) -> Result<machine::PowerState, MachineError> {
        Ok(self.0.lock().unwrap().0)
    }

    async fn power(&self, action: PowerAction) -> Result<(), MachineError> {
        self.0.lock().unwrap().0 = match action {
            PowerAction::Off | PowerAction::Soft => machine::PowerState::Off,
            _ => machine::PowerState::On,
        };
        Ok(())
    }

    async fn boot_flags(&self) -> Result<BootFlags, MachineError> {
        Ok(self.0.lock().unwrap().1)
    }

    async fn set_boot_flags(&self, flags: BootFlags) -> Result<(), MachineError> {
        self.0.lock().unwrap().1 = flags;
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
}

const PASSWORD: &str = "0123456789abcdef";

fn bmc() -> (ServerHandle, Arc<Memory>, BmcTarget) {
    let memory = Arc::new(Memory(Mutex::new((machine::PowerState::Off, BootFlags::NONE))));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let credentials = Credentials::new("admin", PASSWORD).unwrap();
    let server = Server::start(socket, credentials, memory.clone()).unwrap();
    let target = BmcTarget {
        driver: Driver::Ipmi,
        address: server.address().ip(),
        port: server.address().port(),
        user: "admin".into(),
        password: Secret::new(PASSWORD),
    };
    (server, memory, target)
}

async fn login(target: &BmcTarget) -> Box<dyn Bmc> {
    IpmiFactory::default().connect(target).await.unwrap()
}

#[tokio::test]
async fn power_and_boot_device() {
    let (server, memory, target) = bmc();
    let mut bmc = login(&target).await;
    assert_eq!(bmc.power().await, Ok(PowerState::Off));
    bmc.order_power(PowerOrder::On).await.unwrap();
    assert_eq!(bmc.power().await, Ok(PowerState::On));
    bmc.set_boot_device(BootDevice::Pxe, BootMode::Uefi, false).await.unwrap();
    let flags = memory.0.lock().unwrap().1;
    let expected =
        BootFlags { device: machine::BootDevice::Pxe, efi: true, persistent: false, valid: true };
    assert_eq!(flags, expected);
    bmc.set_boot_device(BootDevice::Disk, BootMode::Bios, true).await.unwrap();
    let flags = memory.0.lock().unwrap().1;
    assert!(flags.persistent && !flags.efi && flags.device == machine::BootDevice::Disk);
    bmc.order_power(PowerOrder::SoftOff).await.unwrap();
    assert_eq!(bmc.power().await, Ok(PowerState::Off));
    bmc.close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_wrong_password_and_nobody_there_are_told_apart() {
    let (server, _memory, target) = bmc();
    let options = Options { timeout_ms: 50, attempts_max: 2, ..Options::default() };
    let factory = IpmiFactory::new(options);
    let wrong = BmcTarget { password: Secret::new("fedcba9876543210"), ..target.clone() };
    let fault = factory.connect(&wrong).await.err().unwrap();
    assert!(matches!(fault, BmcFault::Login(_)), "{fault}");
    assert!(!fault.is_passing(), "a wrong password is tried once: BMCs lock users out");
    server.shutdown().await;
    let fault = factory.connect(&target).await.err().unwrap();
    assert!(matches!(fault, BmcFault::Silent(_)), "{fault}");
}
