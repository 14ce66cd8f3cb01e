//! A certificate that is renewed is shown by the listener that runs, from the next connection on.

mod fixture;

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fixture::rack::Rack;
use undercloud_bmc::redfish::{
    link::{Endpoint, Fingerprint, Link, Trust},
    server::{Renewed, Server, Transport, tls::Certificate},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_connection_on() {
    let made = [(); 2].map(|()| {
        let own = Certificate::self_signed(&["localhost"], &[[127, 0, 0, 1].into()]);
        own.expect("certificate")
    });
    let pins = [&made[0], &made[1]].map(|own| Trust::Pinned(Fingerprint::of(&own.chain[0])));
    let [first, second] = made.map(|own| own.into_config().expect("configuration"));
    let renewed = Arc::new(AtomicBool::new(false));
    let told = renewed.clone();
    let source = Renewed::new(move || match told.load(Ordering::SeqCst) {
        false => first.clone(),
        true => second.clone(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let server = Server::start(listener, Transport::Renewed(source), Rack::new(1).site);
    let server = server.expect("server");
    let (host, port) = ("127.0.0.1".to_owned(), server.address().port());
    let endpoint = Endpoint { tls: true, host, port };
    let connect = async |pin: &Trust| Link::open(&endpoint, pin, PATIENCE).await.is_ok();
    assert_eq!([connect(&pins[0]).await, connect(&pins[1]).await], [true, false]);
    renewed.store(true, Ordering::SeqCst);
    assert_eq!([connect(&pins[0]).await, connect(&pins[1]).await], [false, true]);
}
