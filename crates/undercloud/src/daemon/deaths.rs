//! Tests: each task of a daemon that serves machines dies, one after the other.

use std::{path::Path, process::Command, time::Duration};

use tokio::time::{sleep, timeout};
use undercloud_api::admin::{BackgroundState, BackgroundTask};
use undercloud_image::catalog::{Content, Encoding, Image, ImageKind, names};

use super::*;

/// Set where the test runs in the network that it made.
const INSIDE: &str = "UNDERCLOUD_TEST_INSIDE";
const PATIENCE: Duration = Duration::from_secs(60);
/// An interface that machines could boot from.
const LINKS: &str = "ip link set lo up && ip link add boot0 type veth peer name boot1 && \
                     ip address add 10.77.0.1/24 dev boot0 && ip link set boot1 up && \
                     ip link set boot0 up && exec \"$0\" \"$@\"";

/// Runs the test of this name anew in a network of its own.
fn in_a_network(test: &str) {
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", LINKS])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success(), "see above");
}

/// Boot programs, as far as network boot looks at them.
async fn add_boot_programs(state: &StateDir) {
    let store = Store::open(utf8(&state.database()).unwrap(), Open::at(1)).await.unwrap();
    let blobs = Blobs::open(utf8(&state.blobs()).unwrap()).unwrap();
    for name in [names::IPXE_BIOS, names::IPXE_UEFI] {
        let stored = blobs.put(name.as_bytes()).unwrap();
        let (digest, size) = (stored.digest, stored.size);
        let image = Image {
            name: name.to_owned(),
            kind: ImageKind::NetbootProgram,
            digest,
            size,
            encoding: Encoding::Plain,
            content: Content { digest, size },
            os: None,
            min_disk_bytes: 0,
            has_agent: false,
            built_at: 1,
            inputs: digest,
        };
        store.put_image(name, &digest, &image, 1).await.unwrap();
    }
    store.close().await;
}

/// A daemon with all of its parts.
async fn daemon(state: &StateDir) -> (Tasks, Daemon) {
    let tasks = Tasks::new(Clock::new(clock::now_ms));
    let interface = Interface { name: "boot0".to_owned(), range: None };
    let stop = CancellationToken::new();
    let given = (Some(interface), SiteDefinitions::default());
    let daemon = Daemon::assemble(state.clone(), given, &tasks, &stop).await.unwrap();
    (tasks, daemon)
}

async fn until(tasks: &Tasks, name: &str, so: impl Fn(&BackgroundTask) -> bool) {
    let found = async {
        while !tasks.list().iter().any(|row| row.name == name && so(row)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{name}: {:#?}", tasks.list()));
}

async fn each_dies(folder: &Path) {
    let state = StateDir::new(&folder.join("s")).unwrap();
    state.create().unwrap();
    add_boot_programs(&state).await;
    let (tasks, running) = daemon(&state).await;
    let all = tasks.list();
    for name in ["DHCP", "TFTP", "HTTP boot", "agents' API", "engine", "administration", "clock"] {
        let row = all.iter().find(|row| row.name == name);
        assert!(row.is_some_and(|row| row.is_essential), "{name} in {all:#?}");
    }
    // Those that begin again, all in one daemon: the others go on meanwhile.
    let helpful: Vec<_> =
        all.iter().filter(|row| !row.is_essential && row.every_ms.is_none()).collect();
    assert!(helpful.len() >= 2, "{all:#?}");
    for row in helpful {
        tasks.let_die(Some(&row.name));
        until(&tasks, &row.name, |row| {
            row.last_error.as_deref() == Some("it panicked: a test let it die")
        })
        .await;
        tasks.let_die(None);
        let again =
            |row: &BackgroundTask| row.restarts > 0 && row.state == BackgroundState::Running;
        until(&tasks, &row.name, again).await;
    }
    let no_end = timeout(Duration::ZERO, tasks.fatal()).await;
    assert!(no_end.is_err(), "{no_end:?}");
    running.close().await;
    assert_eq!(tasks.list(), [], "nothing is left of it");
    // Each of the others ends its daemon, which says which it was, and the next one serves.
    for row in all.iter().filter(|row| row.is_essential) {
        let (tasks, running) = daemon(&state).await;
        tasks.let_die(Some(&row.name));
        let sentence = timeout(PATIENCE, tasks.fatal()).await.unwrap();
        let name = &row.name;
        assert_eq!(
            sentence,
            format!(
                "the part `{name}` of the daemon ended by itself: it panicked: a test let it die"
            )
        );
        timeout(END_MAX, running.close()).await.unwrap_or_else(|_| panic!("{name}: no end"));
        assert_eq!(tasks.list(), [], "{name}: nothing is left of it");
    }
}

#[test]
fn each_task_that_dies_begins_again_or_ends_the_daemon_by_name() {
    if std::env::var_os(INSIDE).is_none() {
        let name = "daemon::deaths::each_task_that_dies_begins_again_or_ends_the_daemon_by_name";
        return in_a_network(name);
    }
    let folder = tempfile::Builder::new().prefix("uc-t.").tempdir_in("/tmp").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(each_dies(folder.path()));
}
