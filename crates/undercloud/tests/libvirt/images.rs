//! A web server with images, for as long as the test runs.

#![allow(unreachable_pub, reason = "a module of a test binary is not a crate")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

pub struct Server {
    address: SocketAddr,
}

/// What an image of this name holds.
pub fn bytes(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(300_000).collect()
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.expect("a client"));
            }
        });
        Self { address }
    }

    pub fn address(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }
}

/// One request a connection; the name is what is before a query.
fn answer(mut stream: TcpStream) {
    let reader = BufReader::new(stream.try_clone().expect("clone"));
    let head: Vec<String> =
        reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let name = path.trim_start_matches('/').split('?').next().unwrap_or_default();
    let (status, body) = match name {
        "missing" => ("404 Not Found", Vec::new()),
        name => ("200 OK", bytes(name)),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // A client that has seen enough may be gone.
    let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}
