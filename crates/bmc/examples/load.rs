//! A client that does one thing many times and says how long it took: the load of
//! `cargo xtask bench bmc`, the same program for our server and for others.
//!
//! ```text
//! load sessions ADDRESS:PORT USER SUITE COUNT       log in, log out
//! load statuses ADDRESS:PORT USER SUITE COUNT       power status, in one session
//! load fleet FILE                                   power status of every machine of a fleet
//! load redfish ADDRESS USER COUNT keep|new          GET, on a connection or on one each
//! ```
//! The password is in `BMC_PASSWORD`. It prints one line of JSON; times are microseconds.

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{
    error::Error,
    future::Future,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use undercloud_bmc::{
    credentials::Credentials,
    ipmi::{
        client::{Client, Options},
        suite::CipherSuite,
    },
    redfish::link::{Endpoint, Link, Trust},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Machines of a fleet that are asked at once.
const AT_ONCE: usize = 64;
const ANSWER_MAX: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 1 << 20;

fn options(suite: &str) -> Result<Options> {
    let suite = match suite {
        "3" => CipherSuite::Suite3,
        "17" => CipherSuite::Suite17,
        _ => return Err("the suite is 3 or 17".into()),
    };
    Ok(Options { suites: vec![suite], ..Options::default() })
}

fn password() -> Result<String> {
    Ok(std::env::var("BMC_PASSWORD").map_err(|_| "BMC_PASSWORD has no password")?)
}

/// Does it `count` times and prints what came of it.
async fn repeat<F>(count: usize, mut round: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let mut times = Vec::with_capacity(count);
    let began = Instant::now();
    for _ in 0..count {
        let start = Instant::now();
        round().await?;
        times.push(start.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let micros = |percent: usize| {
        times.get(count * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    let (p50, p99) = (micros(50), micros(99));
    println!(
        "{}",
        serde_json::json!({ "count": count, "seconds": seconds, "p50": p50, "p99": p99 })
    );
    Ok(())
}

async fn sessions(address: SocketAddr, user: &str, suite: &str, count: usize) -> Result<()> {
    let (credentials, options) = (Credentials::new(user, &password()?)?, options(suite)?);
    repeat(count, || async {
        Client::connect(address, credentials.clone(), options.clone()).await?.close().await;
        Ok(())
    })
    .await
}

async fn statuses(address: SocketAddr, user: &str, suite: &str, count: usize) -> Result<()> {
    let credentials = Credentials::new(user, &password()?)?;
    let client = Client::connect(address, credentials, options(suite)?).await?;
    let client = tokio::sync::Mutex::new(client);
    repeat(count, || async {
        client.lock().await.power_state().await?;
        Ok(())
    })
    .await
}

/// Twice: first with a login each, then in the sessions that are open.
async fn fleet(file: &str) -> Result<()> {
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(file)?)?;
    let mut members = Vec::with_capacity(rows.len());
    for row in &rows {
        let text = |key: &str| row[key].as_str().ok_or("the fleet's file is damaged");
        let port = row["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let address: IpAddr = text("address")?.parse()?;
        let address = SocketAddr::new(address, port.ok_or("the fleet's file is damaged")?);
        members.push((address, Credentials::new(text("user")?, text("password")?)?));
    }
    let began = Instant::now();
    let clients: Vec<Client> = stream::iter(members)
        .map(|(address, credentials)| async move {
            let mut client = Client::connect(address, credentials, Options::default()).await?;
            client.power_state().await.map(|_| client)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let with_login = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let count = clients.len();
    let clients: Vec<Client> = stream::iter(clients)
        .map(|mut client| async move { client.power_state().await.map(|_| client) })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "count": count, "with_login": with_login, "seconds": seconds })
    );
    drop(clients);
    Ok(())
}

async fn redfish(address: &str, user: &str, count: usize, keep: bool) -> Result<()> {
    let (endpoint, path) = Endpoint::split(address)?;
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{}", password()?)));
    let kept = tokio::sync::Mutex::new(None::<Link>);
    repeat(count, || async {
        let mut kept = kept.lock().await;
        let mut link = match kept.take().filter(|link| keep && link.is_open()) {
            Some(link) => link,
            None => Link::open(&endpoint, &Trust::Anybody, ANSWER_MAX).await?,
        };
        let request = Request::get(&path)
            .header(header::AUTHORIZATION, &basic)
            .body(Full::new(Bytes::new()))?;
        let response = link.send(request, ANSWER_MAX, BODY_BYTES_MAX).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("{address} answered {}", response.status()).into());
        }
        *kept = Some(link);
        Ok(())
    })
    .await
}

/// One thread: what it takes is what one core takes.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["sessions", address, user, suite, count] => {
            sessions(address.parse()?, user, suite, count.parse()?).await
        }
        ["statuses", address, user, suite, count] => {
            statuses(address.parse()?, user, suite, count.parse()?).await
        }
        ["fleet", file] => fleet(file).await,
        ["redfish", address, user, count, how @ ("keep" | "new")] => {
            redfish(address, user, count.parse()?, *how == "keep").await
        }
        _ => Err("usage: load sessions|statuses|fleet|redfish …; see the program's text".into()),
    }
}
