//! A domain as a machine behind a BMC.
//!
//! Power, boot flags and inventory are known: a request about them starts no process. What changes
//! them is done one after the other (`turn`), by a request or by the domain's *caretaker*, which
//! does what follows from events:
//!
//! ```text
//! redefined, listed ──▶ read the definitions
//! listed as off     ──▶ … and start it, if a power cycle was cut short after its stop
//! started           ──▶ … and take back flags that this start has used
//! rebooted          ──▶ … and, if what runs was started with another order than the definition
//!                       has by now: off and on, since QEMU keeps the order that it was started with
//! ```

mod caretaker;
mod intent;
mod media;
mod shared;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::Instant,
};
use undercloud_bmc::{
    guid::Guid,
    machine::{
        BootDevice, BootFlags, Identity, Inventory, Machine, MachineError, Media, MediaSlot,
        PowerAction, PowerState, Readings, SerialLine,
    },
};
use undercloud_serve::Ended;

pub use self::media::Images;
pub(crate) use self::shared::Shared;
use crate::{
    Found, LibvirtError,
    connection::{Heard, Link},
    console,
    virsh::stats,
    xml::{self, boot::Asked, order::Target},
};

/// The controller's firmware version, as `mc info` shows it.
const FIRMWARE: (u8, u8) = (1, 0);
/// So long a reading is good for whoever reads next: a walk over all sensors asks once.
const READINGS_AGE_MAX: Duration = Duration::from_secs(1);

/// A domain of libvirt. Clones of it are not needed: share it.
#[derive(Debug)]
pub struct Domain {
    shared: Arc<Shared>,
    caretaker: JoinHandle<()>,
    ended: Ended,
    readings: tokio::sync::Mutex<Option<(Instant, Readings)>>,
    console: Arc<Semaphore>,
    images: Images,
    /// Held while an image is fetched and put in.
    drive: Arc<Semaphore>,
}

impl Drop for Domain {
    fn drop(&mut self) {
        self.caretaker.abort();
    }
}

impl Domain {
    pub(crate) fn new(
        found: Found,
        heard: Arc<Heard>,
        link: watch::Receiver<Link>,
        images: Images,
    ) -> Self {
        let shared = Arc::new(Shared::new(found, heard, link, &images.folder));
        let (ended, caretaker) = Ended::of(caretaker::run(shared.clone()));
        let caretaker = tokio::spawn(caretaker);
        let [console, drive] = [(); 2].map(|()| Arc::new(Semaphore::new(1)));
        let readings = tokio::sync::Mutex::default();
        Self { shared, caretaker, ended, readings, console, images, drive }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits until nobody follows its events any more, which does not come by itself.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ended.wait()
    }

    /// Waits until all is known that is asked of a BMC, at most so long.
    pub async fn ready(&self, at_most: Duration) {
        let _in_time = tokio::time::timeout(at_most, self.shared.was_read()).await;
    }

    /// Why the domain cannot be reached; `None` when it can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.known().err().map(|error| match error {
            MachineError::Busy => self.shared.link_trouble(),
            other => other.to_string(),
        })
    }

    async fn readings_now(&self) -> Result<Readings, LibvirtError> {
        let mut last = self.readings.lock().await;
        if let Some((at, readings)) = *last
            && at.elapsed() < READINGS_AGE_MAX
        {
            return Ok(readings);
        }
        let virsh = self.shared.virsh();
        let text = virsh.domain("domstats", self.shared.uuid(), &stats::OPTIONS).await?;
        let readings = stats::read(&text);
        *last = Some((Instant::now(), readings));
        Ok(readings)
    }
}

fn target(device: BootDevice) -> Result<Option<Target>, MachineError> {
    match device {
        BootDevice::None => Ok(None),
        BootDevice::Pxe => Ok(Some(Target::Pxe)),
        BootDevice::Disk => Ok(Some(Target::Disk)),
        BootDevice::Cdrom => Ok(Some(Target::Cdrom)),
        BootDevice::Bios => Ok(Some(Target::Menu)),
        BootDevice::Safe
        | BootDevice::Diag
        | BootDevice::RemoteFloppy
        | BootDevice::RemoteCdrom
        | BootDevice::RemoteMedia
        | BootDevice::RemoteDisk
        | BootDevice::Floppy => Err(MachineError::Unsupported),
    }
}

pub(crate) fn flags(asked: Option<&Asked>) -> BootFlags {
    asked.map_or(BootFlags::NONE, |asked| BootFlags {
        device: match asked.target {
            Target::Pxe => BootDevice::Pxe,
            Target::Disk => BootDevice::Disk,
            Target::Cdrom => BootDevice::Cdrom,
            Target::Menu => BootDevice::Bios,
        },
        efi: asked.efi,
        persistent: asked.persistent,
        valid: true,
    })
}

/// What is begun is brought to its end, also when the client's answer could not wait for it.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, LibvirtError>> + Send + 'static,
) -> Result<T, MachineError> {
    match tokio::spawn(work).await {
        Ok(done) => done.map_err(LibvirtError::into_machine_error),
        Err(error) => Err(MachineError::Failed(error.to_string())),
    }
}

#[async_trait]
impl Machine for Domain {
    async fn power_state(&self) -> Result<PowerState, MachineError> {
        self.shared.known()?;
        Ok(self.shared.power())
    }

    async fn power(&self, action: PowerAction) -> Result<(), MachineError> {
        self.shared.known()?;
        let shared = self.shared.clone();
        let done = to_the_end(async move { shared.act(action).await }).await?;
        if done { Ok(()) } else { Err(MachineError::WrongState) }
    }

    async fn boot_flags(&self) -> Result<BootFlags, MachineError> {
        self.shared.known()?;
        self.shared.boot_flags().ok_or(MachineError::Busy)
    }

    async fn set_boot_flags(&self, flags: BootFlags) -> Result<(), MachineError> {
        self.shared.known()?;
        let target = target(flags.device)?.filter(|_| flags.valid);
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| MachineError::Failed(error.to_string()))?;
        let (efi, persistent) = (flags.efi, flags.persistent);
        let asked = target.map(|target| Asked { id: hex::encode(id), target, efi, persistent });
        let shared = self.shared.clone();
        to_the_end(async move { shared.set_boot(asked).await }).await
    }

    fn identity(&self) -> Identity {
        let uuid = self.shared.uuid();
        Identity {
            // The controller is another thing than the machine: the same GUID with the last bit
            // turned.
            device_guid: Guid((uuid.as_u128() ^ 1).to_be_bytes()),
            system_guid: Guid(*uuid.as_bytes()),
            firmware: FIRMWARE,
            name: self.shared.name().to_owned(),
        }
    }

    fn inventory(&self) -> Inventory {
        self.shared.inventory()
    }

    async fn readings(&self) -> Result<Readings, MachineError> {
        if self.power_state().await? == PowerState::Off {
            let inventory = self.shared.inventory();
            return Ok(Readings {
                cpu_count: inventory.processors.iter().map(|it| it.threads).sum(),
                memory_max_bytes: inventory.memory_mib << 20,
                ..Readings::default()
            });
        }
        self.readings_now().await.map_err(LibvirtError::into_machine_error)
    }

    fn power_changes(&self) -> Option<watch::Receiver<PowerState>> {
        Some(self.shared.power_changes())
    }

    fn media_slots(&self) -> &'static [MediaSlot] {
        if self.shared.has_drive() { &[MediaSlot::Cd] } else { &[] }
    }

    async fn media(&self, slot: MediaSlot) -> Result<Option<Media>, MachineError> {
        self.shared.known()?;
        match slot {
            MediaSlot::Cd => Ok(self
                .shared
                .media()
                .map(|inserted| Media { image: inserted.image, write_protected: true })),
            MediaSlot::UsbStick => Err(MachineError::Unsupported),
        }
    }

    async fn set_media(&self, slot: MediaSlot, media: Option<Media>) -> Result<(), MachineError> {
        self.shared.known()?;
        if slot != MediaSlot::Cd || !self.shared.has_drive() {
            return Err(MachineError::Unsupported);
        }
        let busy = self.drive.clone().try_acquire_owned().map_err(|_| MachineError::Busy)?;
        let (shared, images) = (self.shared.clone(), self.images.clone());
        to_the_end(async move {
            let _busy = busy;
            match media {
                Some(media) => media::insert(shared, images, media).await,
                None => media::eject(shared).await,
            }
        })
        .await
    }

    async fn open_serial(&self) -> Result<SerialLine, MachineError> {
        if self.power_state().await? == PowerState::Off {
            return Err(MachineError::WrongState);
        }
        let virsh = self.shared.virsh();
        if !virsh.uri().is_local() {
            return Err(MachineError::Unsupported);
        }
        let line = self.console.clone().try_acquire_owned().map_err(|_| MachineError::Busy)?;
        let text = virsh.domain("dumpxml", self.shared.uuid(), &[]).await;
        let text = text.map_err(LibvirtError::into_machine_error)?;
        let failed = |error: xml::XmlError| LibvirtError::Definition(error).into_machine_error();
        let path = xml::console(&text).map_err(failed)?.ok_or(MachineError::Unsupported)?;
        console::open(&path, line).await.map_err(|error| {
            MachineError::Failed(format!("cannot open the console {path:?}: {error}"))
        })
    }
}
