//! Every decoder of IPMI: no panic, and what is read survives being written and read again.
#![no_main]

use undercloud_bmc::ipmi::{
    crypto::{Mac, SessionKeys},
    msg,
    packet::Datagram,
    suite::CipherSuite,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert_eq!(msg::unfaithful(bytes), Vec::<&str>::new());
    for suite in CipherSuite::PREFERRED {
        let keys = SessionKeys::derive(suite, &Mac::new(suite, b"key", &[]));
        let _ = keys.decrypt(bytes);
        if let Ok(Datagram::Plus(packet)) = Datagram::parse(bytes) {
            assert_eq!(packet.open(&keys), None, "sealed without the keys");
        }
    }
});
