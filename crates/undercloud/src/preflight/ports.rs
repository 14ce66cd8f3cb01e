//! Whether the loopback ports of this state are free.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::Finding;
use crate::state::StateDir;

/// How many BMC ports are looked at: more machines fit, the lab names a taken port itself.
const BMC_PORTS: usize = 4;

pub(super) fn check(state: &StateDir, daemon_runs: bool) -> Finding {
    if daemon_runs {
        return Finding::ok("held by our daemon");
    }
    let taken = state
        .lab_bmc_ports()
        .take(BMC_PORTS)
        .find(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
        .map(|port| ("udp", port));
    let (api, redfish) = (state.api_port(), state.redfish_port());
    let is_taken = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
    let tcp_taken = [api, redfish].into_iter().find(is_taken);
    match taken.or(tcp_taken.map(|port| ("tcp", port))) {
        None => Finding::ok(format!(
            "127.0.0.1: udp {}–{}, tcp {api}, {redfish}",
            state.port_base(),
            state.lab_bmc_ports().take(BMC_PORTS).last().unwrap_or_default()
        )),
        Some((protocol, port)) => Finding::fail(
            format!("{protocol} port {port} of 127.0.0.1 is in use by another program"),
            format!("ss -lpn 'sport = {port}' shows which; end it, or choose another --state"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_how_to_find_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path()).unwrap();
        let port = state.port_base() + 1;
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let Finding::Fail { wrong, cure } = check(&state, false) else {
            panic!("udp {port} is taken");
        };
        assert_eq!(wrong, format!("udp port {port} of 127.0.0.1 is in use by another program"));
        assert!(cure.contains(&format!("sport = {port}")), "{cure}");
        assert!(matches!(check(&state, true), Finding::Ok { .. }), "our daemon may hold it");
        drop(held);
        assert!(matches!(check(&state, false), Finding::Ok { .. }));
    }
}
