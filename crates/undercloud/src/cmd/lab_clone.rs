//! `undercloud lab clone`: a snapshot of a lab, cloud included, brought to life in a state of its own,
//! beside the lab that it is of.
//!
//! ```text
//! <state>/snapshots/NAME/ ─► DIR.new/ ─► users, GUIDs, BMC ports of its own ─► DIR/ ─► daemon, machines
//! ```
//! Before its daemon starts nothing of the copy refers to the first lab any more: a daemon that knew the
//! first lab's BMCs would switch those machines. Blobs never change and are shared by hard links, where
//! both are on one file system.

use std::{
    ffi::{OsStr, OsString},
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;
use undercloud_api::admin;
use undercloud_lab::{
    Lab, LabNames, MachineDefinition,
    instackenv::{BmcAccess, Instackenv},
};
use undercloud_model::{ErrorKind, NodeName, node::NewNode};
use undercloud_store::{Open, Store};

use super::{
    Context,
    lab_snapshot::{self, LINKED, RECORD},
    serve,
};
use crate::{clock, daemon::bmc_access, failure::Failure, out, state::StateDir};

/// What of a snapshot is no part of a clone: what says where the first lab's APIs and BMCs are.
const LEFT_OUT: [&str; 6] = [
    RECORD,
    "stackrc",
    "overcloudrc",
    "instackenv.json",
    "domain-bmcs.json",
    "domain-bmc-memories",
];

/// Makes the lab in `directory` from a snapshot, and starts what ran.
pub(super) fn run(context: &Context, name: &str, directory: &Path) -> Result<()> {
    let begun = Instant::now();
    let place = lab_snapshot::find(&context.state, name)?;
    let record = lab_snapshot::read(&place)?;
    let state = target(directory)?;
    check_ports(&context.state, &state)?;
    let new = beside(state.root())?;
    lab_snapshot::remove(&new)?;
    make_private(&new)?;
    if let Err(error) = copy(&place, &new).and_then(|()| part(&new, &state)) {
        // It holds keys and passwords, and is of no use.
        lab_snapshot::remove(&new)?;
        return Err(error);
    }
    fs::rename(&new, state.root())
        .with_context(|| format!("cannot name {}", state.root().display()))?;
    let theirs = Context { common: context.common.clone(), state, out: context.out };
    let started = serve::ensure(&theirs)
        .map(drop)
        .and_then(|()| lab_snapshot::switch_on(&theirs.state, &record.on));
    let shown = theirs.state.root().display();
    started.with_context(|| format!("the clone is in {shown}, and not all of it runs"))?;
    let took = out::seconds(begun.elapsed());
    let namespace = crate::lab_host::names(&theirs.state)?.namespace();
    let value = json!({ "state": theirs.state.root(), "namespace": namespace, "on": record.on });
    let text = format!(
        "{shown} is a lab like snapshot {name}, with {} machines that were on ({took})\n\
         its daemon: undercloud --state {shown} status; its networks: ip netns exec {namespace} …",
        record.on.len()
    );
    context.out.result(&value, text)
}

/// A state that is not there yet.
fn target(directory: &Path) -> Result<StateDir> {
    let state = StateDir::new(directory)?;
    if state.exists() {
        let message = format!("{} is there already", state.root().display());
        return Err(Failure::new(ErrorKind::Conflict, message)
            .hint("name a directory that is not there yet")
            .into());
    }
    // Names are made of the real path.
    let (Some(parent), Some(name)) = (state.root().parent(), state.root().file_name()) else {
        return Err(Failure::new(ErrorKind::Invalid, "that is no directory for a state").into());
    };
    let parent = parent
        .canonicalize()
        .with_context(|| format!("cannot use {} for a clone", parent.display()))?;
    StateDir::new(&parent.join(name))
}

/// The clone's BMCs have the first one's passwords: they must not answer at the same ports, now or when
/// the first one's daemon runs again.
fn check_ports(first: &StateDir, state: &StateDir) -> Result<()> {
    let is_taken = |port: &u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
    let taken = state.lab_bmc_ports().find(is_taken);
    if state.port_base() != first.port_base() && taken.is_none() {
        return Ok(());
    }
    let port = taken.unwrap_or_else(|| state.port_base());
    let message = format!(
        "a lab in {} would have ports that are in use, as 127.0.0.1:{port}",
        state.root().display()
    );
    Err(Failure::new(ErrorKind::Conflict, message)
        .hint("ports follow from the directory's path: name another one")
        .into())
}

fn beside(root: &Path) -> Result<PathBuf> {
    let name = root.file_name().context("a state directory has a name")?;
    let mut new = OsString::from(".");
    new.push(name);
    new.push(".new");
    Ok(root.with_file_name(new))
}

fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))
}

fn copy(place: &Path, new: &Path) -> Result<()> {
    for entry in lab_snapshot::entries(place)? {
        if LEFT_OUT.iter().any(|out| entry == *out) {
            continue;
        }
        let from = place.join(&entry);
        if entry == OsStr::new(LINKED) && lab_snapshot::copy(&from, new).is_err() {
            // Another file system. What was linked until then is as it should be.
            lab_snapshot::copy_whole(&from, new)?;
        } else if entry != OsStr::new(LINKED) {
            lab_snapshot::copy(&from, new)?;
        }
    }
    Ok(())
}

/// Makes the copied files a state of its own, which will be at `state`.
fn part(new: &Path, state: &StateDir) -> Result<()> {
    let utf8 = |path: &Path| {
        Utf8PathBuf::from_path_buf(path.to_owned()).ok().context("a path is no UTF-8")
    };
    let names = LabNames::from_real_path(&utf8(state.root())?);
    let machines = Lab::adopt(&utf8(new)?, &names)?;
    // Files have the same names in every state.
    let copied = StateDir::new(new)?;
    let reached = bmc_access::move_to(state, &copied.bmc_credentials(), &machines)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(take_over(&utf8(&copied.database())?, &reached))
}

/// Writes down where the clone's BMCs are, for the nodes that are enrolled.
async fn take_over(database: &Utf8Path, reached: &[(&MachineDefinition, BmcAccess)]) -> Result<()> {
    let store = Store::open(database, Open::at(clock::now_ms())).await?;
    let nodes = store.nodes().await?;
    let is_lab = |name: &NodeName| reached.iter().any(|(machine, _)| machine.name == *name);
    if let Some(node) = nodes.iter().find(|node| !is_lab(&node.name)) {
        let message = format!("{} is no machine of the lab: two daemons would drive it", node.name);
        return Err(Failure::new(ErrorKind::Conflict, message)
            .hint("labs whose machines are all the lab's can be cloned")
            .into());
    }
    if !nodes.is_empty() {
        let enrolled = |name: &NodeName| nodes.iter().any(|node| node.name == *name);
        let moved = reached.iter().filter(|(machine, _)| enrolled(&machine.name));
        let text = serde_json::to_vec(&Instackenv::of(moved.map(|(m, access)| (*m, access))))?;
        let file = admin::instackenv::Instackenv::parse(&text).map_err(anyhow::Error::new)?;
        let moved = Vec::<NewNode>::try_from(file).map_err(anyhow::Error::new)?;
        store.import_nodes(moved, clock::now_ms()).await?;
    }
    store.close().await;
    Ok(())
}
