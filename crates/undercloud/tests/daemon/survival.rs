//! What a daemon lives through, and what it says meanwhile: no descriptors, full disks, a state of
//! another version, commands at the same time, Ctrl-C.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::{
        net::UnixStream,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, kill_process_group, prlimit};
use serde_json::{Value, json};
use undercloud_model::Digest;

use super::host::{Host, Running, text, until};

/// Of 48 MiB of sevens.
const DIGEST: &str = "3286bb4e2aacb6726e3f153666203cdab7d8708d9de8a1c9cbe29a6f8e7fe074";
const PROGRAM: &str = env!("CARGO_BIN_EXE_undercloud");

fn pid(process: &Running) -> Pid {
    Pid::from_raw(i32::try_from(process.0.id()).expect("a number")).expect("a process")
}

fn open_files(process: &Running) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", process.0.id()));
    files.expect("its descriptors").count()
}

/// A file of so many machines behind BMCs that do not answer.
fn machines(host: &Host, count: u16) {
    let node = |number: u16| {
        json!({
            "name": format!("m{number}"), "pm_type": "ipmi", "pm_addr": "127.0.0.1",
            "mac": [format!("52:54:00:aa:09:{number:02x}")],
            "pm_port": (9000 + number).to_string(), "pm_user": "admin", "pm_password": "correct horse",
        })
    };
    let nodes: Vec<Value> = (0..count).map(node).collect();
    fs::write(host.path("nodes.json"), json!({ "nodes": nodes }).to_string()).expect("a file");
}

fn nodes(host: &Host) -> usize {
    let listed = host.undercloud(&["node", "list", "-o", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    listed.as_array().expect("a list").len()
}

#[test]
fn without_descriptors_it_waits_and_goes_on() {
    let host = Host::new("true");
    let daemon = host.serve(1024, &[]);
    let connect = || UnixStream::connect(host.inside("s/run/undercloud.sock")).expect("a socket");
    let mut early = connect();
    let ask = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
    let answered = |early: &mut UnixStream| {
        early.write_all(ask).expect("asked");
        let mut begin = [0; 12];
        early.read_exact(&mut begin).expect("an answer");
        // The rest of it, as far as it has come: the next answer begins behind it.
        early.set_nonblocking(true).expect("a socket");
        let _all = io::copy(early, &mut io::sink());
        early.set_nonblocking(false).expect("a socket");
        String::from_utf8_lossy(&begin).into_owned()
    };
    assert_eq!(answered(&mut early), "HTTP/1.1 200");
    let room = u64::try_from(open_files(&daemon)).expect("a number") + 4;
    let limit = Rlimit { current: Some(room), maximum: Some(room) };
    prlimit(Some(pid(&daemon)), Resource::Nofile, limit).expect("a limit");
    let crowd: Vec<UnixStream> = (0..40).map(|_| connect()).collect();
    let log = || fs::read_to_string(host.path("log")).expect("log");
    until("it has no descriptor left", || log().contains("Too many open files"));
    // Whoever was let in before is served.
    assert_eq!(answered(&mut early), "HTTP/1.1 200");
    drop(crowd);
    assert!(host.undercloud(&["node", "list"]).status.success(), "{}", log());
    assert_eq!(host.tasks_that_ended(), Vec::<Value>::new(), "{}", log());
}

#[test]
fn a_full_disk_is_said_and_all_goes_on_when_there_is_room() {
    let Some(host) = Host::with_small_disks(24) else { return };
    host.add_range();
    machines(&host, 80);
    let log = host.inside("s/logs/undercloud.log");
    fs::create_dir_all(log.parent().expect("a folder")).expect("a folder");
    let mut command = host.command(PROGRAM);
    command.arg("serve").env("RUST_LOG", "debug");
    let mut daemon = host.answering(command, &log);
    let filler = fill(&host, "s/filler");
    let logged = fs::metadata(&log).expect("a log").len();
    let refused = host.undercloud(&["node", "import", "nodes.json"]);
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(7), "{said}");
    assert!(said.contains("the file system that holds the state is full"), "{said}");
    for command in [&["status"][..], &["node", "list"], &["events"]] {
        let output = host.undercloud(command);
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
    assert_eq!(nodes(&host), 0, "all or none");
    assert!(fs::metadata(&log).expect("a log").len() < logged + 8192, "the log's disk is full");
    assert_eq!(daemon.0.try_wait().expect("a process"), None, "it runs on");
    fs::remove_file(filler).expect("room");
    let done = host.undercloud(&["node", "import", "nodes.json"]);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(nodes(&host), 80);
    assert_eq!(host.tasks_that_ended(), Vec::<Value>::new());
}

/// Writes until there is no room left.
fn fill(host: &Host, name: &str) -> PathBuf {
    let path = host.inside(name);
    let mut file = fs::File::create(&path).expect("a file");
    let written = io::copy(&mut io::repeat(b'x').take(1 << 30), &mut file);
    assert!(written.is_err(), "a disk of less than 1 GiB");
    path
}

#[test]
fn a_daemon_that_starts_on_a_full_disk_says_so_and_starts_when_there_is_room() {
    let Some(host) = Host::with_small_disks(8) else { return };
    let filler = fill(&host, "s/filler");
    let refused = host.undercloud(&["serve"]);
    let said = text(&refused);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("hint: free some space"), "{said}");
    assert!(said.contains(host.path("s").to_str().expect("UTF-8")), "which one: {said}");
    fs::remove_file(filler).expect("room");
    let _daemon = host.serve(1024, &[]);
    assert_eq!(nodes(&host), 0);
}

#[test]
fn an_image_that_does_not_fit_leaves_nothing_behind() {
    let Some(host) = Host::with_small_disks(24) else { return };
    let _daemon = host.serve(1024, &[]);
    let blobs = host.inside("s/blobs");
    let used = || -> u64 {
        let mut folders = vec![blobs.clone()];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let entry = entry.expect("an entry");
                match entry.metadata().expect("a file") {
                    file if file.is_dir() => folders.push(entry.path()),
                    file => bytes += file.len(),
                }
            }
        }
        bytes
    };
    let before = used();
    let image = fs::File::create(host.path("big.raw")).expect("a file");
    (&image).write_all(&vec![7; 48 << 20]).expect("a file");
    let refused = host.undercloud(&["image", "import", "big.raw", "--sha256", DIGEST]);
    let said = text(&refused);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("space") || said.contains("full"), "{said}");
    assert_eq!(used(), before, "{said}");
}

#[test]
fn a_state_of_a_newer_version_is_left_as_it_is() {
    let host = Host::new("true");
    host.add_range();
    let database = host.path("s/undercloud.db");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                 execution_time) VALUES (99, 'later', 1, x'00', 0)";
    let Ok(inserted) = Command::new("sqlite3").arg(&database).arg(newer).output() else {
        return println!("SKIPPED: there is no sqlite3 here");
    };
    assert!(inserted.status.success(), "{}", text(&inserted));
    let before = fs::read(&database).expect("a database");
    for arguments in [&["serve"][..], &["serve", "--detach"]] {
        let refused = host.undercloud(arguments);
        let said = text(&refused);
        assert!(!refused.status.success(), "{said}");
        let sentence = "is of a newer version of this program (its tables are version 99, ";
        assert!(said.contains(sentence), "{said}");
        assert!(said.contains("hint: use that version"), "{said}");
    }
    assert!(fs::read(&database).expect("a database") == before, "it was written to");
}

#[test]
fn a_plan_of_an_earlier_version_is_in_nobodys_way() {
    let host = Host::new("true");
    host.prepare(async |store| {
        let plan =
            json!({"machines": [{"name": "controller-0", "job": "everything"}], "towers": 3});
        let digest = Digest::from_bytes([7; 32]);
        let begun = store.begin_deployment(&plan, &digest, "x/", 1).await.expect("a deployment");
        store.end_deployment(begun.number, None, 2).await.expect("its end");
    });
    let _daemon = host.serve(1024, &[]);
    let verified = host.undercloud(&["cloud", "verify"]);
    let said = text(&verified);
    assert!(said.contains("was made by another version of this program"), "{said}");
    assert!(said.contains("hint: undercloud cloud install"), "{said}");
    for command in [&["cloud", "show"][..], &["status"], &["events"]] {
        let output = host.undercloud(command);
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
    assert_eq!(host.tasks_that_ended(), Vec::<Value>::new());
}

#[test]
fn of_two_daemons_at_once_one_serves_and_the_other_names_it() {
    let host = Host::new("true");
    let mut both: Vec<Running> = (0..2)
        .map(|_| {
            let mut command = host.command(PROGRAM);
            Running(command.arg("serve").stderr(Stdio::piped()).spawn().expect("a daemon"))
        })
        .collect();
    let mut ended = None;
    until("one has ended and one answers", || {
        ended = both.iter_mut().position(|d| d.0.try_wait().expect("a process").is_some());
        ended.is_some() && host.answers()
    });
    let mut refused = both.remove(ended.expect("one has ended"));
    let mut said = String::new();
    let stderr = refused.0.stderr.as_mut().expect("its errors");
    stderr.read_to_string(&mut said).expect("its words");
    assert_eq!(refused.ended().code(), Some(4), "{said}");
    assert!(said.contains(&format!("runs already, as process {}", both[0].0.id())), "{said}");
    assert_eq!(both[0].0.try_wait().expect("a process"), None);
}

/// Ends a daemon that another process began.
struct Detached<'a>(&'a Host, Pid);

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        kill_process(self.1, Signal::TERM).expect("the daemon is there");
        until("the daemon ends", || !self.0.answers());
    }
}

fn detached(said: &[u8]) -> Option<Pid> {
    let said: Value = serde_json::from_slice(said).ok()?;
    Pid::from_raw(i32::try_from(said["pid"].as_i64()?).ok()?)
}

#[test]
fn whoever_starts_a_daemon_at_the_same_time_gets_the_same_one() {
    let host = Host::new("true");
    let starters: Vec<Child> = (0..6)
        .map(|_| {
            let mut command = host.command(PROGRAM);
            command.args(["serve", "--detach", "-o", "json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    let outputs = starters.into_iter().map(|s| s.wait_with_output().expect("it ends"));
    let outputs: Vec<_> = outputs.collect();
    let pids: Vec<Option<Pid>> = outputs.iter().map(|output| detached(&output.stdout)).collect();
    let first = pids.iter().flatten().next().expect("a daemon runs");
    let _daemon = Detached(&host, *first);
    for (output, pid) in outputs.iter().zip(&pids) {
        assert!(output.status.success(), "{}", text(output));
        assert_eq!(*pid, Some(*first));
    }
}

#[test]
fn the_same_command_many_times_at_once_is_done_once() {
    let host = Host::new("true");
    host.add_range();
    machines(&host, 3);
    let _daemon = host.serve(1024, &[]);
    let importers: Vec<Child> = (0..6)
        .map(|_| {
            let mut command = host.command(PROGRAM);
            command.args(["node", "import", "nodes.json"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    for importer in importers {
        let output = importer.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", text(&output));
    }
    assert_eq!(nodes(&host), 3);
    let events = host.undercloud(&["events", "-o", "json"]);
    let events: Value = serde_json::from_slice(&events.stdout).expect("JSON");
    let events = events.as_array().expect("a list");
    let enrolled = events.iter().filter(|event| event["data"]["event"] == "enrolled").count();
    assert_eq!(enrolled, 3, "{events:#?}");
}

#[test]
fn ctrl_c_ends_a_daemon_in_the_foreground_in_good_order() {
    let host = Host::new("true");
    let mut daemon = host.serve(1024, &[]);
    daemon.tell(Signal::INT);
    let ended = daemon.ended();
    let log = fs::read_to_string(host.path("log")).expect("log");
    assert!(ended.success() && log.contains("daemon stopped"), "{ended}: {log}");
}

#[test]
fn ctrl_c_in_a_terminal_does_not_reach_a_daemon_that_was_started_from_it() {
    let host = Host::new("true");
    let out = host.path("out");
    let mut command = host.command("sh");
    let line = "\"$0\" serve --detach -o json > out && exec sleep infinity";
    command.args(["-c", line, PROGRAM]).process_group(0);
    let mut terminal = Running(command.spawn().expect("a shell"));
    let mut daemon = None;
    until("a daemon runs", || {
        daemon = detached(&fs::read(&out).unwrap_or_default());
        daemon.is_some()
    });
    let _daemon = Detached(&host, daemon.expect("a daemon"));
    kill_process_group(pid(&terminal), Signal::INT).expect("a group");
    assert!(!terminal.ended().success());
    assert_eq!(nodes(&host), 0, "it answers");
    assert_eq!(host.tasks_that_ended(), Vec::<Value>::new());
}

#[test]
fn a_command_that_ctrl_c_ended_is_waited_for_by_nobody() {
    let host = Host::new("true");
    let daemon = host.serve(1024, &[]);
    host.status();
    let before = open_files(&daemon);
    let mut followers: Vec<Running> = (0..8)
        .map(|_| {
            let mut command = host.command(PROGRAM);
            command.args(["events", "--follow"]).stdout(Stdio::null());
            Running(command.spawn().expect("it starts"))
        })
        .collect();
    until("all are connected", || open_files(&daemon) >= before + 8);
    for follower in &mut followers {
        follower.tell(Signal::INT);
        // Well, once it watches for Ctrl-C; by it, where it came before.
        let ended = follower.ended();
        assert!(ended.success() || ended.signal() == Some(2), "{ended}");
    }
    until("their connections are closed", || open_files(&daemon) <= before);
    assert_eq!(host.tasks_that_ended(), Vec::<Value>::new());
}
