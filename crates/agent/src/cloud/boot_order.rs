//! `undercloud-agent yield-to URL …`: what works behind the APIs starts after them.
//!
//! When a machine starts, all its services want its processors at once, and all are ready at the same
//! late moment. Those that people ask come first. That is for a machine's start only: a service that is
//! started later, by an installation or after it ended, does not wait for anybody.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Call, Programs, keystone};
use crate::log::Log;

/// All of it together.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// One that loads its program takes the connection, and answers when it is ready.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Waits until each of these answered once, where the machine is just starting; gives up quietly.
pub fn yield_to(programs: &dyn Programs, urls: &[&str], log: &Log) {
    if !is_starting(programs) {
        return;
    }
    let began = Instant::now();
    let client = keystone::http(ANSWER_MAX);
    for url in urls {
        while client.get(*url).call().is_err() {
            if began.elapsed() > WAIT_MAX {
                log.say(format_args!("{url} does not answer yet: it is not waited for any longer"));
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// systemctl(1), `is-system-running`: until every unit of the machine's start was started.
fn is_starting(programs: &dyn Programs) -> bool {
    let call = Call::new("systemctl", Duration::from_secs(20), ["is-system-running"]);
    let ended = programs.run(&call).unwrap_or_default();
    matches!(ended.stdout.trim(), "initializing" | "starting")
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read, Write},
        net::TcpListener,
    };

    use super::*;
    use crate::cloud::Ended;

    #[derive(Debug)]
    struct State(&'static str);

    impl Programs for State {
        fn run(&self, call: &Call) -> io::Result<Ended> {
            assert_eq!(call.shown(), "systemctl is-system-running");
            // It fails for every state but `running`.
            Ok(Ended { success: false, stdout: format!("{}\n", self.0), stderr: String::new() })
        }
    }

    #[test]
    fn a_machine_s_start_waits_for_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            // The first connection ends without an answer, the second gets one that is no success.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream
                .write_all(b"HTTP/1.1 300 Multiple Choices\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        });
        yield_to(&State("starting"), &[&url], &Log::new(Vec::new()));
        served.join().unwrap();
    }

    #[test]
    fn a_start_later_on_does_not_wait() {
        // Nobody listens there, so that a wait would last a minute.
        for state in ["running", "degraded", "maintenance", ""] {
            yield_to(&State(state), &["http://127.0.0.1:1/"], &Log::new(Vec::new()));
        }
    }
}
