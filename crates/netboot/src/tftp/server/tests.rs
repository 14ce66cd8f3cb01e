//! The server on loopback, asked as firmware that has no patience asks.

use std::{net::UdpSocket as Socket, thread, time::Duration};

use super::*;

/// Longer than an answer takes on a busy host, shorter than a test may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server on a thread and a runtime of its own, so that one that hangs does not hang the test.
struct Running {
    address: SocketAddr,
    events: crate::events::Queue,
}

fn start() -> Running {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    socket.set_nonblocking(true).unwrap();
    let (events, queue) = Events::new();
    let sockets: TransferSockets = Arc::new(|| Socket::bind("127.0.0.1:0"));
    let files = BTreeMap::from([("undionly.kpxe".to_owned(), Arc::from([7u8; 2000].as_slice()))]);
    let tftp = Tftp::new(files, sockets, events);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            serve(UdpSocket::from_std(socket).unwrap(), tftp, CancellationToken::new()).await
        })
    });
    Running { address, events: queue }
}

fn client() -> Socket {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next packet, and who sent it.
fn heard(socket: &Socket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0u8; 2000];
    let (len, from) = socket.recv_from(&mut buffer).expect("the server answers");
    (buffer[..len].to_vec(), from)
}

/// Fetches the rest of a file of 2000 bytes whose first block came.
fn fetch(socket: &Socket, (mut packet, from): (Vec<u8>, SocketAddr)) -> usize {
    let mut bytes = 0;
    loop {
        assert_eq!(packet[1], 3, "{packet:?}");
        bytes += packet.len() - 4;
        socket.send_to(&[0, 4, packet[2], packet[3]], from).unwrap();
        if packet.len() < 516 {
            return bytes;
        }
        packet = heard(socket).0;
    }
}

const REQUEST: &[u8] = b"\0\x01undionly.kpxe\0octet\0";

#[test]
fn the_same_request_twice_from_one_port_is_one_transfer() {
    let running = start();
    let client_a = client();
    for _ in 0..3 {
        client_a.send_to(REQUEST, running.address).unwrap();
    }
    let first = heard(&client_a);
    // The others are served meanwhile, and this one to its end.
    let client_b = client();
    client_b.send_to(REQUEST, running.address).unwrap();
    assert_eq!(fetch(&client_b, heard(&client_b)), 2000);
    assert_eq!(fetch(&client_a, first), 2000);
}

#[test]
fn a_repeated_request_is_not_a_refusal_when_all_places_are_taken() {
    let running = start();
    let clients: Vec<Socket> = (0..TRANSFERS_PER_ADDRESS_MAX).map(|_| client()).collect();
    for client in &clients {
        client.send_to(REQUEST, running.address).unwrap();
        heard(client);
    }
    clients[0].send_to(REQUEST, running.address).unwrap();
    assert_eq!(heard(&clients[0]).0[..4], [0, 3, 0, 1], "the first block again, no refusal");
    let surplus = client();
    surplus.send_to(REQUEST, running.address).unwrap();
    assert_eq!(heard(&surplus).0[..4], [0, 5, 0, 0], "too many transfers");
}

#[tokio::test]
async fn a_transfer_that_ended_frees_its_place() {
    let mut running = start();
    for _ in 0..2 * TRANSFERS_PER_ADDRESS_MAX {
        let address = running.address;
        let fetched = tokio::task::spawn_blocking(move || {
            let client = client();
            client.send_to(REQUEST, address).unwrap();
            fetch(&client, heard(&client))
        });
        assert_eq!(fetched.await.unwrap(), 2000);
        // Its end is told just before its place is free, so the next may still find it taken;
        // there are more places than one.
        let told = async {
            while let Some(event) = running.events.next().await {
                if matches!(event.kind, Kind::TftpDone { .. }) {
                    return;
                }
            }
        };
        timeout(PATIENCE, told).await.unwrap();
    }
}

/// A socket whose every second answer is an error that does not pass by itself.
struct Failing {
    socket: UdpSocket,
    asked: std::sync::atomic::AtomicU32,
}

impl Datagrams for Failing {
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2) {
            return Err(io::Error::from_raw_os_error(105)); // ENOBUFS
        }
        self.socket.recv_from(buffer).await
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(bytes, to).await
    }
}

#[tokio::test]
async fn errors_of_the_socket_do_not_end_the_server() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let failing = Failing { socket, asked: std::sync::atomic::AtomicU32::default() };
    let (events, _queue) = Events::new();
    let sockets: TransferSockets = Arc::new(|| Socket::bind("127.0.0.1:0"));
    let files = BTreeMap::from([("undionly.kpxe".to_owned(), Arc::from([7u8; 2000].as_slice()))]);
    let server = serve(failing, Tftp::new(files, sockets, events), CancellationToken::new());
    let fetched = tokio::task::spawn_blocking(move || {
        (0..3)
            .map(|_| {
                let client = client();
                client.send_to(REQUEST, address).unwrap();
                fetch(&client, heard(&client))
            })
            .collect::<Vec<_>>()
    });
    tokio::select! {
        () = server => panic!("the server ended"),
        fetched = fetched => assert_eq!(fetched.unwrap(), [2000, 2000, 2000]),
    }
}

#[tokio::test]
async fn a_transfer_under_way_is_finished_when_the_server_ends() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (events, _queue) = Events::new();
    let sockets: TransferSockets = Arc::new(|| Socket::bind("127.0.0.1:0"));
    let files = BTreeMap::from([("undionly.kpxe".to_owned(), Arc::from([7u8; 2000].as_slice()))]);
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(socket, Tftp::new(files, sockets, events), stop.clone()));
    let fetched = tokio::task::spawn_blocking(move || {
        let client = client();
        client.send_to(REQUEST, address).unwrap();
        let first = heard(&client);
        stop.cancel();
        fetch(&client, first)
    });
    assert_eq!(fetched.await.unwrap(), 2000);
    timeout(PATIENCE, server).await.unwrap().unwrap();
}

#[test]
fn a_flood_of_requests_is_not_answered_and_a_little_of_it_is_told() {
    let mut running = start();
    let flood = client();
    let ask = b"\0\x01nothing\0octet\0";
    // Each from a port of its own, so that none is taken for a repetition.
    for _ in 0..400 {
        client().send_to(ask, running.address).unwrap();
    }
    flood.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    flood.send_to(ask, running.address).unwrap();
    assert!(flood.recv(&mut [0; 100]).is_err(), "beyond its rate: silence");
    let mut told = 0;
    while running.events.try_next().is_some() {
        told += 1;
    }
    assert_eq!(told, 1, "once; the rest is counted");
}
