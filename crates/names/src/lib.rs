//! Names of hosts to addresses, as this host knows them: files, DNS, and whatever else its
//! `/etc/nsswitch.conf` names.
//!
//! Our programs are static, and a static program must not look names up by itself: glibc loads the
//! plug-ins of the host for that, of another version than it was linked with, and dies of a signal
//! in them (seen with `libnss-mdns` of Debian 13 and a program of Debian 12). `getent`, which every
//! Debian has, is the host's own.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    process::Command,
};

/// For DNS servers that do not answer.
const PATIENCE_S: &str = "20";
/// The longest name (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;

/// The addresses of `host`, which is a name or an address itself, in brackets or not. Blocks.
///
/// # Errors
/// None is known, the name is none, or `getent` is not there.
pub fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if !is_name(host) {
        let message = format!("`{host}` is no name of a host");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let output = Command::new("timeout").args([PATIENCE_S, "getent", "ahosts", host]).output();
    let output = output.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot look up {host}: timeout: {error}"))
    })?;
    let found = parse(&String::from_utf8_lossy(&output.stdout), port);
    if found.is_empty() {
        let why = match output.status.code() {
            Some(124) => format!("no answer on the address of {host} in {PATIENCE_S} s"),
            Some(127) => format!("cannot look up {host}: there is no getent"),
            _ => format!("no address of {host} is known"),
        };
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(found)
}

/// Nothing that a program could take for an option.
fn is_name(host: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !host.is_empty()
        && host.len() <= NAME_MAX
        && !host.starts_with('-')
        && host.chars().all(is_good)
}

/// `ADDRESS  STREAM  NAME`, a line for each kind of socket; each address once, in their order.
fn parse(text: &str, port: u16) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if let Ok(address) = word.parse::<IpAddr>() {
            let address = SocketAddr::new(address, port);
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_getent_prints_is_read() {
        let text = "2001:db8::1     STREAM web.example\n2001:db8::1     DGRAM\n192.0.2.7 STREAM\n\
                    192.0.2.7 DGRAM\nfe80::1%eth0 STREAM\nnonsense\n\n";
        let found: Vec<String> = parse(text, 80).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["[2001:db8::1]:80", "192.0.2.7:80"]);
    }

    #[test]
    fn an_address_is_its_own_and_a_name_is_looked_up() {
        let of = |host: &str| addresses(host, 443);
        assert_eq!(of("192.0.2.7").unwrap(), ["192.0.2.7:443".parse().unwrap()]);
        assert_eq!(of("[2001:db8::1]").unwrap(), ["[2001:db8::1]:443".parse().unwrap()]);
        assert!(of("localhost").unwrap().iter().all(|address| address.ip().is_loopback()));
    }

    #[test]
    fn what_is_no_name_reaches_no_program() {
        for host in ["", "-s", "--help", "a b", "a/b", "a\nb", "ä.example", &"a".repeat(254)] {
            let error = addresses(host, 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{host}: {error}");
        }
        let error = addresses("no-such-host.invalid", 1).unwrap_err();
        assert_eq!(error.to_string(), "no address of no-such-host.invalid is known");
    }
}
