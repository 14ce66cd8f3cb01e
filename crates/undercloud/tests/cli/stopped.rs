//! Ctrl-C while a command waits: it says in one line that the work goes on, and how to look at it.
//! The daemon at the other end takes the work up and then answers nothing, so that the wait has no
//! other end.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, Stdio},
    sync::mpsc,
};

use rustix::process::{Pid, Signal, kill_process};

use super::Host;

const TASK: &str = r#"{"id": "00000000-0000-0000-0000-000000000007", "name": "lab create",
    "state": "running", "started_at": 1, "ended_at": null, "lines": [], "next_line": 0}"#;
const ACCEPTED: &str =
    r#"{"node": "00000000-0000-0000-0000-000000000001", "cursor": 0, "at": 5, "request": 1}"#;

/// What was asked, as `GET /v1/…`; nothing, of a connection that asks nothing.
fn read_request(stream: &UnixStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).expect("a request");
    let mut length = 0;
    for line in reader.by_ref().lines() {
        let line = line.expect("a header").to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    reader.take(length).read_to_end(&mut Vec::new()).expect("a body");
    let words: Vec<&str> = first.split(' ').take(2).collect();
    (!first.is_empty()).then(|| words.join(" "))
}

/// Takes up what is posted and leaves every question open; each is told of.
fn answer(host: &Host) -> mpsc::Receiver<(String, UnixStream)> {
    fs::create_dir_all(host.path("s/run")).expect("folder");
    let listener = UnixListener::bind(host.path("s/run/undercloud.sock")).expect("socket");
    let (tell, waits) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let Some(request) = read_request(&stream) else { continue };
            let body = match request.as_str() {
                "POST /v1/tasks" => TASK,
                "POST /v1/nodes/x/verbs?force=false" => ACCEPTED,
                _ => {
                    // Held open: whoever asks waits.
                    if tell.send((request, stream)).is_err() {
                        return;
                    }
                    continue;
                }
            };
            let length = body.len();
            write!(stream, "HTTP/1.1 202 Accepted\r\ncontent-length: {length}\r\n\r\n{body}")
                .expect("an answer");
        }
    });
    waits
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
}

#[test]
fn who_stops_waiting_is_told_that_the_work_goes_on() {
    let host = Host::new();
    let waits = answer(&host);
    let mut text = String::new();
    for (line, question) in [
        ("lab create", "GET /v1/tasks/"),
        ("lab create -o json", "GET /v1/tasks/"),
        ("node manage x", "GET /v1/nodes/00000000-0000-0000-0000-000000000001"),
        ("node manage x -o json", "GET /v1/nodes/00000000-0000-0000-0000-000000000001"),
    ] {
        let mut command = host.command(env!("CARGO_BIN_EXE_undercloud"));
        command.args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("the program");
        let (asked, open) = waits.recv().expect("it waits");
        assert!(asked.starts_with(question), "{asked}");
        interrupt(&child);
        let ended = child.wait_with_output().expect("the program");
        drop(open);
        text += &host.ended(line, &ended);
    }
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("who_stops_waiting", text);
    });
}

#[test]
fn a_log_is_followed_until_it_is_stopped() {
    let host = Host::new();
    fs::create_dir_all(host.path("s/logs")).expect("folder");
    let log = host.path("s/logs/overcloud_install.log");
    for more in [&[][..], &["-o", "json"]] {
        fs::write(&log, "one\ntwo\n").expect("log");
        let mut command = host.command(env!("CARGO_BIN_EXE_undercloud"));
        command.args(["logs", "overcloud_install", "--follow", "--lines", "1"]).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut next = || lines.next().expect("a line").expect("text");
        assert!(next().contains("two"));
        let mut writer = fs::File::options().append(true).open(&log).expect("log");
        writer.write_all(b"three\n").expect("log");
        assert!(next().contains("three"));
        fs::rename(&log, host.path("s/logs/overcloud_install.log.1")).expect("log");
        fs::write(&log, "four\n").expect("log");
        let four = next();
        let json = r#"{"line":"four","name":"overcloud_install.log"}"#;
        assert_eq!(four, if more.is_empty() { "four" } else { json });
        interrupt(&child);
        assert!(child.wait().expect("the program").success(), "it was to be stopped");
    }
}
