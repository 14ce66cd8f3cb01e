//! Sessions and commands per second, our client against our server over loopback, both in this
//! process. `cargo bench -p undercloud-bmc`

#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::expect_used, reason = "a bench stops where its set-up fails")]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use fixture::{MemoryMachine, PASSWORD, USER, credentials, serve};
use undercloud_bmc::ipmi::{
    client::{Client, Options},
    suite::CipherSuite,
};

async fn measure<F: Future>(name: &str, rounds: usize, mut round: impl FnMut() -> F) {
    let mut times = Vec::with_capacity(rounds);
    let started = Instant::now();
    for _ in 0..rounds {
        let began = Instant::now();
        round().await;
        times.push(began.elapsed());
    }
    let second = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| times[rounds * percent / 100];
    let rate = f64::from(u32::try_from(rounds).unwrap_or(u32::MAX)) / second;
    println!("{name}: {rate:.0}/s, p50 {:?}, p99 {:?}", at(50), at(99));
}

#[tokio::main]
async fn main() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let address = server.address();
    for suite in CipherSuite::PREFERRED {
        let options = Options { suites: vec![suite], ..Options::default() };
        let connect = || Client::connect(address, credentials(USER, PASSWORD), options.clone());
        measure(&format!("suite {suite}, session"), 2000, || async {
            connect().await.expect("connect").close().await;
        })
        .await;
        let client = tokio::sync::Mutex::new(connect().await.expect("connect"));
        measure(&format!("suite {suite}, power status"), 20_000, || async {
            client.lock().await.power_state().await.expect("status")
        })
        .await;
    }
}
