//! The firewall in a kernel: a machine and a daemon as two network namespaces joined by a cable. Needs
//! root, iproute2 and nftables; without them it says so and checks nothing.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

use crate::fake::Machine;

const DEADLINE: Duration = Duration::from_secs(10);
/// What the image loads before its network.
const AT_BOOT: &str = include_str!("../../../../images/overcloud-full/firewall.nft");

/// Two namespaces; they go when this is dropped.
struct Net {
    daemon: String,
    machine: String,
}

fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
}

impl Net {
    /// `None` where there can be none.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        for (program, argument) in [("ip", "-V"), ("nft", "--version")] {
            if Command::new(program).arg(argument).output().is_err() {
                println!("skipped: there is no `{program}`");
                return None;
            }
        }
        let name = |part| format!("firewall-{part}-{}", std::process::id());
        let net = Self { daemon: name("daemon"), machine: name("machine") };
        let (daemon, machine) = (&net.daemon, &net.machine);
        run("ip", &format!("netns add {daemon}"));
        run("ip", &format!("netns add {machine}"));
        run("ip", &format!("-n {daemon} link add d0 type veth peer name ens3 netns {machine}"));
        for (namespace, link, address) in [(daemon, "d0", 1), (machine, "ens3", 101)] {
            run("ip", &format!("-n {namespace} address add 192.168.24.{address}/24 dev {link}"));
            run("ip", &format!("-n {namespace} link set {link} up"));
        }
        Some(net)
    }

    fn load(&self, path: &std::path::Path) {
        run("ip", &format!("netns exec {} nft -f {}", self.machine, path.display()));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.daemon, &self.machine] {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

/// Runs in a namespace: sockets stay in the one that they were made in.
fn within<T: Send + 'static>(namespace: &str, job: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(format!("/run/netns/{namespace}")).unwrap();
    let job = move || {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), network).unwrap();
        job()
    };
    thread::spawn(job).join().unwrap()
}

#[test]
fn an_answer_that_the_daemon_still_owes_comes_through_the_first_load() {
    let Some(net) = Net::new() else { return };
    let machine = Machine::good();
    machine.file("at-boot.nft", AT_BOOT);
    net.load(&machine.path("at-boot.nft"));

    let listener = within(&net.daemon, || TcpListener::bind("192.168.24.1:0").unwrap());
    let daemon = listener.local_addr().unwrap();
    let began = Instant::now();
    let mut poll = loop {
        // The kernel drops what is sent before both ends of the cable are up.
        match within(&net.machine, move || TcpStream::connect_timeout(&daemon, DEADLINE / 10)) {
            Ok(stream) => break stream,
            Err(error) => assert!(began.elapsed() < DEADLINE, "{error}"),
        }
    };
    let (mut held, _) = listener.accept().unwrap();
    poll.write_all(b"poll").unwrap();
    let mut asked = [0; 4];
    held.read_exact(&mut asked).unwrap();

    // Nothing is said on the connection while the agent does its network step.
    machine.handle({
        let namespace = net.machine.clone();
        move |call| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &namespace, call.program]).args(&call.arguments);
            let output = command.output()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok(undercloud_agent::cloud::Ended {
                success: call.program == "networkctl" || output.status.success(),
                stdout: text(&output.stdout),
                stderr: text(&output.stderr),
            })
        }
    });
    let step = json!({"kind": "network", "links": [], "bridge": null, "hosts": [],
        "firewall": {"allow": []}});
    assert!(machine.step(&step));

    held.write_all(b"order").unwrap();
    poll.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = [0; 5];
    poll.read_exact(&mut answer).expect("the answer was dropped");
    assert_eq!(&answer, b"order");
    // The firewall is there: nobody gets in who was not asked.
    let port = within(&net.machine, || TcpListener::bind("192.168.24.101:0").unwrap());
    let closed = port.local_addr().unwrap();
    let stranger = within(&net.daemon, move || {
        TcpStream::connect_timeout(&closed, Duration::from_millis(300))
    });
    assert!(stranger.is_err(), "the firewall lets everybody in");
}
