//! Every decoder of IPMI: no panic, and what is read survives being written and read again.
#![no_main]

use undercloud_bmc::ipmi::{
    crypto::{Mac, SessionKeys},
    msg,
    packet::Datagram,
    record::{fru::Fru, sdr, sel::Event},
    suite::CipherSuite,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert_eq!(msg::unfaithful(bytes), Vec::<&str>::new());
    let _ = (Fru::decode(bytes), sdr::Record::decode(bytes), sdr::length(bytes));
    if let Ok(event) = Event::decode(bytes) {
        assert!(!event.what.text().is_empty());
    }
    for suite in CipherSuite::PREFERRED {
        let keys = SessionKeys::derive(suite, &Mac::new(suite, b"key", &[]));
        let _ = keys.decrypt(bytes);
        if let Ok(Datagram::Plus(packet)) = Datagram::parse(bytes) {
            assert_eq!(packet.open(&keys), None, "sealed without the keys");
        }
    }
});
