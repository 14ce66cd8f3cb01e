//! Words of people and of others' programs that become types: what is taken reads the same again.
#![no_main]

use std::{fmt::Display, str::FromStr};

use undercloud_lab::NetworkName;
use undercloud_libvirt::ConnectUri;
use undercloud_model::{
    Digest, MacAddr, NodeId, NodeName, SshHostKey, agent::cloud::ServiceName, nearest,
    node::ProvisionState,
};

fn same<T: FromStr + Display + PartialEq>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let again = value.to_string();
    assert!(again.parse::<T>().is_ok_and(|read| read == value), "{text:?} became {again:?}");
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    same::<MacAddr>(text);
    same::<Digest>(text);
    same::<NodeId>(text);
    same::<NodeName>(text);
    same::<ServiceName>(text);
    same::<SshHostKey>(text);
    same::<NetworkName>(text);
    same::<ConnectUri>(text);
    if let Ok(state) = text.parse::<ProvisionState>() {
        assert_eq!(state.as_str(), text);
    }
    let known = ["controller-0", "compute-0", text];
    assert!(nearest(text, known).contains(&text));
});
