//! What commands answer, word by word: output, errors and exit codes, with a daemon and without one.
//! The daemon is the real one, in a network of its own; there are no machines.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod stopped;

use std::{
    fmt::Write as _,
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that nobody tells of.
const POLL: Duration = Duration::from_millis(20);

struct Host {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
    /// What commands are started by.
    by: &'static [&'static str],
}

impl Drop for Host {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let pid = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, Signal::TERM).expect("the daemon can be ended");
        daemon.wait().expect("the daemon ends");
    }
}

impl Host {
    /// A host on which nothing runs.
    fn new() -> Self {
        // Short: paths of sockets are.
        let folder = tempfile::Builder::new().prefix("uc-cli.").tempdir_in("/tmp").expect("folder");
        let wrong = r#"{"nodes": [{"name": "a", "memory": "4 GiB", "pm_password": "hunter2"}]}"#;
        for (name, text) in [("empty.json", ""), ("wrong.json", wrong)] {
            fs::write(folder.path().join(name), text).expect("file");
        }
        for name in ["home", "config", "cache"] {
            fs::create_dir(folder.path().join(name)).expect("folder");
        }
        Self { folder, daemon: None, by: &[] }
    }

    /// One on which a daemon runs, without machines.
    fn with_daemon() -> Self {
        let mut host = Self::new();
        let log = fs::File::create(host.path("log")).expect("log");
        // In a network of its own: its ports are nobody else's.
        let in_network = "ip link set lo up && exec \"$0\" serve";
        let mut serve = host.command("unshare");
        serve
            .args(["--user", "--map-root-user", "--net", "sh", "-c", in_network])
            .arg(env!("CARGO_BIN_EXE_undercloud"))
            .stderr(log);
        host.daemon = Some(serve.spawn().expect("the daemon"));
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(host.path("s/run/undercloud.sock")).is_err() {
            let log = fs::read_to_string(host.path("log")).expect("log");
            let ended = host.daemon.as_mut().map(|daemon| daemon.try_wait().expect("a process"));
            assert_eq!(ended, Some(None), "the daemon ended: {log}");
            assert!(Instant::now() < end, "the daemon does not answer: {log}");
            std::thread::sleep(POLL);
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("UNDERCLOUD_STATE", self.path("s"))
            .env("UNDERCLOUD_CACHE", self.path("cache"))
            .env("UNDERCLOUD_AGENT", self.path("no-agent"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        for proxy in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command
    }

    /// What each of `lines` answers.
    fn transcript(&self, lines: &[&str]) -> String {
        let mut text = String::new();
        for line in lines {
            let words = line.split(' ').map(|word| if word == "''" { "" } else { word });
            let program = env!("CARGO_BIN_EXE_undercloud");
            let mut command = self.command(self.by.first().unwrap_or(&program));
            if let [_, more @ ..] = self.by {
                command.args(more).arg(program);
            }
            let output = command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
            let output = output.expect("the program runs");
            text += &self.ended(line, &output);
        }
        text
    }

    /// What a command said, and how it ended.
    fn ended(&self, line: &str, output: &Output) -> String {
        let folder = self.folder.path().to_str().expect("a path");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(folder, "HOST");
        let mut text = format!("$ undercloud {line}\n{}", said(&output.stdout));
        for line in said(&output.stderr).lines() {
            let _ = writeln!(text, "{}", format!("2> {line}").trim_end());
        }
        let code = output.status.code().expect("it was not killed");
        let _ = writeln!(text, "[{code}]\n");
        text
    }
}

#[track_caller]
fn check(host: &Host, name: &str, lines: &[&str]) {
    let text = host.transcript(lines);
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

#[test]
fn without_a_daemon() {
    let host = Host::new();
    check(
        &host,
        "without_a_daemon",
        &[
            "status",
            "status -o json",
            "node list -o json",
            "logs",
            "logs -o json",
            "logs nothing",
            "image build",
            "bmc probe nowhere.invalid",
            "bmc sensors 192.0.2.1 --user u --password-file absent",
            "serve --provisioning-interface no-such-link0",
            "serve --provisioning-interface no-such-link0 -o json",
            "--state other status",
            "--state other status -o json",
            "down",
            "down -o json",
        ],
    );
}

#[test]
fn the_cache_of_other_states_is_not_dropped_by_one() {
    let host = Host::new();
    fs::create_dir_all(host.path("cache/users")).expect("folder");
    for (name, is_there) in [("other", true), ("gone", false)] {
        let state = host.path(name);
        if is_there {
            fs::create_dir(&state).expect("folder");
        }
        fs::write(host.path("cache/users").join(name), state.as_os_str().as_encoded_bytes())
            .expect("file");
    }
    let lines = ["down --purge", "down --purge -o json", "down --force", "down --purge --force"];
    check(&host, "the_cache_of_other_states", &lines[..3]);
    assert!(host.path("cache/users/other").exists());
    check(&host, "the_cache_of_other_states_by_force", &lines[3..]);
    assert!(!host.path("cache").exists() && host.path("other").exists());
}

#[test]
fn another_users_state_is_not_empty() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: no directory can be another user's, and this test shows nothing");
        return;
    }
    let mut host = Host::new();
    let state = host.path("s");
    fs::create_dir(&state).expect("folder");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("mode");
    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).expect("owner");
    // Without the rights that make root everybody.
    host.by = &["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    check(&host, "another_users_state_is_not_empty", &["down", "down -o json", "logs", "status"]);
}

#[test]
fn wrong_command_lines() {
    let host = Host::new();
    check(
        &host,
        "wrong_command_lines",
        &[
            "nod list",
            "node",
            "node lst -o json",
            "node show --output json",
            "node power up x",
            "serve --provisioning-range 10.0.0.9-10.0.0.5 --provisioning-interface x",
            "cloud install --approve abc",
        ],
    );
}

#[test]
fn with_a_daemon_and_nothing_else() {
    let host = Host::with_daemon();
    check(
        &host,
        "with_a_daemon_and_nothing_else",
        &[
            "node list",
            "node list -o json",
            "node show x",
            "node show ''",
            "node show x -o json",
            "node manage x y",
            "node manage x y -o json",
            "node abort x",
            "node power on x",
            "node maintenance x",
            "node history x",
            "node delete x",
            "node import absent.json",
            "image list",
            "image list -o json",
            "image show x",
            "image remove x",
            "image import absent.raw",
            "image import absent.raw --name=-x",
            "image import absent.raw --name undionly.kpxe",
            "image import ftp://192.0.2.1/a.raw",
            "node import empty.json",
            "node import wrong.json",
            "node import wrong.json -o json",
            "container list",
            "container show x",
            "lab list",
            "lab start x",
            "lab stop x",
            "lab grow x",
            "lab console x",
            "lab delete",
            "lab delete -o json",
            "bmc list",
            "bmc show x",
            "cloud list",
            "cloud show",
            "cloud show 7",
            "cloud verify",
            "cloud verify -o json",
            "events --deployment 9",
            "events --deployment 9 -o json",
            "events --node x",
            "containers x",
            "ssh x",
            "logs nothing",
        ],
    );
}
