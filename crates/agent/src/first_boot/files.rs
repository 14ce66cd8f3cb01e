//! The files of the installed system that the first boot writes, each whole or not at all.

use std::{
    fs::{self, DirBuilder},
    io,
    net::IpAddr,
    os::unix::fs::DirBuilderExt,
};

use undercloud_durable::{Access, replace};

use super::{FirstBootError, UnitFile};
use crate::sys::Host;

/// What resolv.conf(5) reads.
const NAMESERVERS_MAX: usize = 3;

/// Writes a file whole. Its directory is made where it is missing, for root alone if the file is.
pub(super) fn write(
    host: &Host,
    path: &str,
    mode: u32,
    content: &[u8],
) -> Result<(), FirstBootError> {
    let target = host.path(path);
    let put = || -> io::Result<()> {
        let dir = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let dir_mode = if mode & 0o077 == 0 { 0o700 } else { 0o755 };
        DirBuilder::new().recursive(true).mode(dir_mode).create(dir)?;
        replace(&target, content, Access::mode(mode))
    };
    put().map_err(|source| FirstBootError::Write { path: format!("/{path}"), source })
}

/// The host's name, and the line by which it finds itself.
pub(super) fn write_hostname(host: &Host, name: &str) -> Result<(), FirstBootError> {
    write(host, "etc/hostname", 0o644, format!("{name}\n").as_bytes())?;
    let old = host.text("etc/hosts").unwrap_or_else(|_| "127.0.0.1 localhost\n".to_owned());
    let others = old.lines().filter(|l| l.split_whitespace().next() != Some("127.0.1.1"));
    let mut hosts: String = others.map(|l| format!("{l}\n")).collect();
    let short = name.split('.').next().unwrap_or(name);
    let names = if short == name { name.to_owned() } else { format!("{name} {short}") };
    hosts.push_str(&format!("127.0.1.1 {names}\n"));
    write(host, "etc/hosts", 0o644, hosts.as_bytes())
}

/// Adds the keys that root does not have yet.
pub(super) fn add_authorized_keys(host: &Host, keys: &[&str]) -> Result<(), FirstBootError> {
    let path = "root/.ssh/authorized_keys";
    let mut text = host.text(path).unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for key in keys {
        if !text.lines().any(|line| line.trim() == *key) {
            text.push_str(key);
            text.push('\n');
        }
    }
    write(host, path, 0o600, text.as_bytes())
}

/// networkd's files, without those of an attempt before, and the name servers where no service
/// manages them.
pub(super) fn write_network(
    host: &Host,
    units: &[UnitFile],
    nameservers: &[IpAddr],
) -> Result<(), FirstBootError> {
    let dir = "etc/systemd/network";
    for old in host.names(dir).iter().filter(|n| n.starts_with("10-undercloud-")) {
        let path = format!("{dir}/{old}");
        fs::remove_file(host.path(&path))
            .map_err(|source| FirstBootError::Write { path: format!("/{path}"), source })?;
    }
    for unit in units {
        write(host, &format!("{dir}/{}", unit.name), 0o644, unit.content.as_bytes())?;
    }
    let managed = fs::symlink_metadata(host.path("etc/resolv.conf")).is_ok_and(|m| m.is_symlink());
    if !managed && !nameservers.is_empty() {
        let lines = nameservers.iter().take(NAMESERVERS_MAX).map(|s| format!("nameserver {s}\n"));
        write(host, "etc/resolv.conf", 0o644, lines.collect::<String>().as_bytes())?;
    }
    Ok(())
}
