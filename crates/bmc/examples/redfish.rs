//! A Redfish service in front of machines that exist in memory only, to try clients against:
//!
//! `cargo run -p undercloud-bmc --example redfish -- 127.0.0.1:8443 COUNT [plain]`
//!
//! Machine N is `/redfish/v1/Systems/mN`, its user `admin`, its password `rack-password-NNN`;
//! the user `site` with `the-site-password` sees all of them.

#![expect(clippy::print_stdout, reason = "it is a program")]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::{error::Error, net::TcpListener};

use fixture::rack::Rack;
use undercloud_bmc::redfish::server::{Server, Transport, tls::Certificate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, count, plain) = match arguments.as_slice() {
        [address, count] => (address, count, false),
        [address, count, plain] if plain == "plain" => (address, count, true),
        _ => return Err("usage: redfish ADDRESS:PORT COUNT [plain]".into()),
    };
    let rack = Rack::new(count.parse()?);
    let listener = TcpListener::bind(address)?;
    let transport = if plain {
        Transport::Plain
    } else {
        let ip = listener.local_addr()?.ip();
        Transport::Tls(Certificate::self_signed(&["localhost"], &[ip])?.into_config()?)
    };
    let server = Server::start(listener, transport, rack.site)?;
    println!("listening on {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
