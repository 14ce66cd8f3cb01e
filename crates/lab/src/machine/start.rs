//! Starts QEMU: as the machine's user, in the lab's namespace, in the machine's directory.

use std::{
    io,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{
    Host, MachineDefinition,
    arguments::{self, InDrives},
    boot::Order,
    container, device_nodes,
    files::MachineFiles,
    media::MediaDrive,
    process::Process,
};
use crate::{
    Acceleration, LabError, MachineKind, MemoryNeed, command, namespace,
    qmp::{Event, Qmp},
};

/// From QEMU's start to its control socket. 0.2 s on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A QEMU that runs and obeys.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) qmp: Qmp,
    pub(super) events: mpsc::Receiver<Event>,
}

/// Starts the machine and waits until it can be controlled.
pub(super) async fn start(
    machine: &Arc<MachineDefinition>,
    files: &MachineFiles,
    host: &Arc<Host>,
    order: Order,
) -> Result<Started, LabError> {
    MemoryNeed::of([(machine.kind, machine.memory_mib)], host.acceleration)?
        .check(format!("machine {}", machine.name))?;
    let child = {
        let (definition, files, host) = (machine.clone(), files.clone(), host.clone());
        let work = move || {
            files.prepare_start(&definition, &host.files)?;
            match definition.kind {
                MachineKind::Qemu => spawn(&definition, &files, &host, order),
                MachineKind::Container => container::spawn(&definition, &files, &host, order),
            }
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| LabError::Unattended { machine: machine.name.clone() })??
    };
    let mut process = Process::of_child(child)
        .map_err(|source| LabError::Spawn { program: host.files.qemu.to_string(), source })?;
    match wait_for_qmp(machine, files, &mut process).await {
        Ok((qmp, events)) => Ok(Started { process, qmp, events }),
        Err(error) => {
            // Nothing may be left that this program would not know as running.
            if process.kill().is_ok() && process.ends_within(START_DEADLINE).await {
                process.collect();
            }
            Err(error)
        }
    }
}

fn spawn(
    machine: &MachineDefinition,
    files: &MachineFiles,
    host: &Host,
    order: Order,
) -> Result<std::process::Child, LabError> {
    let log = files.open_qemu_log()?;
    let media =
        InDrives { cd: files.read_media(MediaDrive::Cd)?, usb: files.read_media(MediaDrive::Usb)? };
    let line = arguments::command_line(machine, host, order, &media);
    let devices: &[_] = match host.acceleration {
        Acceleration::Kvm => &[&device_nodes::TUN, &device_nodes::KVM],
        Acceleration::Tcg => &[&device_nodes::TUN],
    };
    let child = namespace::enter_and(&host.namespace, || {
        device_nodes::lend(machine.uid, devices)?;
        Command::new(&line[0])
            .args(&line[1..])
            .env_clear()
            .env("PATH", command::PATH)
            .env("LC_ALL", "C")
            .current_dir(files.vm())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    })?;
    child.map_err(|source| LabError::Spawn { program: line.join(" "), source })
}

/// The control socket appears when QEMU has opened everything else.
async fn wait_for_qmp(
    machine: &MachineDefinition,
    files: &MachineFiles,
    process: &mut Process,
) -> Result<(Qmp, mpsc::Receiver<Event>), LabError> {
    let failed = |reason| LabError::Start { machine: machine.name.clone(), reason };
    let deadline = Instant::now() + START_DEADLINE;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if !process.is_alive() {
            let status = process.collect().map(|status| status.to_string()).unwrap_or_default();
            return Err(failed(format!("{} ({status})", files.qemu_said())));
        }
        match files.connect_qmp().await {
            Ok(stream) => {
                return Qmp::start(stream).await.map_err(|source| LabError::Qmp {
                    machine: machine.name.clone(),
                    operation: "the first handshake".to_owned(),
                    source,
                });
            }
            Err(error) if not_yet(&error) && Instant::now() < deadline => {}
            Err(error) => return Err(failed(format!("no control socket: {error}"))),
        }
    }
}

fn not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
