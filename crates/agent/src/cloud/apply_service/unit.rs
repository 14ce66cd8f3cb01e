//! The unit of a service, for podman's Quadlet (podman-systemd.unit(5)).
//!
//! What is not the service's own is chosen for a cheap start: the machine's network as it is, no
//! health checks of podman's, output straight to the journal without a process in between, no look
//! for a newer image.

use std::fmt::Write as _;

use undercloud_model::agent::{
    StepFailure,
    cloud::{Privileges, ServiceSetup, StopMode},
};

use super::{places, quote};
use crate::cloud::{OURS, check, refused};

/// How long a service may take to end by itself before it is killed.
const STOP_S: u32 = 30;
/// The same with podman's own time around it.
const STOP_UNIT_S: u32 = 75;

/// The unit's text; `image` is the reference of an image that is there.
pub(super) fn render(setup: &ServiceSetup, image: &str) -> Result<String, StepFailure> {
    let mut text = format!("{OURS}\n[Unit]\n");
    let mut put = |key: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key}={value}");
    };
    let name = &setup.name;
    put("Description", &quote::line("the summary", &setup.summary)?);
    if !setup.after.is_empty() {
        let units: Vec<String> = setup.after.iter().map(|s| format!("{s}.service")).collect();
        put("After", &units.join(" "));
    }
    put("StartLimitIntervalSec", "0");
    put("\n[Container]\nContainerName", name.as_str());
    put("Image", image);
    for (key, value) in [("Pull", "never"), ("Network", "host"), ("LogDriver", "passthrough")] {
        put(key, value);
    }
    put("User", &setup.uid.to_string());
    put("StopTimeout", &STOP_S.to_string());
    for (key, value) in privileges(setup)? {
        put(key, &value);
    }
    for (key, value) in &setup.environment {
        let key = check::name("variable", key, "_")?;
        put("Environment", &quote::word("a variable", &format!("{key}={value}"))?);
    }
    for volume in volumes(setup)? {
        put("Volume", &volume);
    }
    for device in &setup.devices {
        if !check::path(device)?.starts_with("dev/") {
            return Err(refused(format_args!("`{device}` is no device of the machine")));
        }
        put("AddDevice", device);
    }
    let command = setup.command.iter().map(|w| quote::word("the command", w));
    let command = command.collect::<Result<Vec<_>, _>>()?;
    if command.is_empty() {
        return Err(refused(format_args!("{name} has no command")));
    }
    put("Exec", &command.join(" "));
    put("\n[Service]\nRestart", "always");
    if let Some(wait) = wait(setup)? {
        put("ExecStartPre", &wait);
    }
    put("RestartSec", "2");
    put("TimeoutStartSec", "300");
    put("TimeoutStopSec", &STOP_UNIT_S.to_string());
    put("\n[Install]\nWantedBy", "multi-user.target");
    Ok(text)
}

/// Has the machine's start wait for what comes first; whatever becomes of that, the service starts.
fn wait(setup: &ServiceSetup) -> Result<Option<String>, StepFailure> {
    if setup.yields_to.is_empty() {
        return Ok(None);
    }
    let urls = setup.yields_to.iter().map(|url| quote::word("a URL", url));
    let urls = urls.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(format!("-/usr/sbin/undercloud-agent yield-to {}", urls.join(" "))))
}

fn privileges(setup: &ServiceSetup) -> Result<Vec<(&'static str, String)>, StepFailure> {
    let Privileges { capabilities, privileged, host_pid } = &setup.privileges;
    let mut lines = Vec::new();
    if !privileged {
        // Without a list root has podman's own ones and any other account none.
        if capabilities.is_some() || setup.uid != 0 {
            lines.push(("DropCapability", "all".to_owned()));
            lines.push(("NoNewPrivileges", "true".to_owned()));
        }
        let names = capabilities.iter().flatten();
        let names = names.map(|c| check::name("capability", c, "_").map(str::to_owned));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        if !names.is_empty() {
            lines.push(("AddCapability", names.join(" ")));
        }
    }
    let mut arguments = Vec::new();
    if *privileged {
        arguments.push("--privileged");
    }
    if *host_pid {
        arguments.push("--pid=host");
    }
    if setup.stop == StopMode::Main {
        // Podman ends what is in the container's control group, and systemd what is in the unit's;
        // podman has no mode in which it would not. Children outlive the service by leaving both,
        // as libvirt's do, and they can do that only where they see the machine's groups.
        if !(*privileged && *host_pid) {
            return Err(refused(format_args!(
                "children of {} cannot outlive it without `privileged` and `host_pid`",
                setup.name
            )));
        }
        arguments.push("--cgroupns=host");
    }
    if !arguments.is_empty() {
        lines.push(("PodmanArgs", arguments.join(" ")));
    }
    Ok(lines)
}

fn volumes(setup: &ServiceSetup) -> Result<Vec<String>, StepFailure> {
    let dir = places::files(&setup.name);
    let mut lines = Vec::new();
    for volume in &setup.volumes {
        let (host, path) = (check::path(&volume.host)?, check::path(&volume.path)?);
        let options = if volume.shared { ":rshared" } else { "" };
        lines.push(format!("/{host}:/{path}{options}"));
    }
    // After the directories: a file may be inside one.
    for file in &setup.files {
        let path = check::path(&file.path)?;
        lines.push(format!("/{dir}/{path}:/{path}:ro"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use undercloud_model::agent::StepFailureKind;

    use super::*;

    fn setup(fields: Value) -> ServiceSetup {
        let mut setup = json!({
            "name": "keystone", "summary": "Keystone: identity, 100 %",
            "image": {
                "name": "keystone", "digest": format!("sha256:{}", "0".repeat(64)),
                "id": format!("sha256:{}", "1".repeat(64)), "bytes": 1,
            },
            "command": ["uwsgi_python3", "--ini", "/etc/keystone/uwsgi.ini", "--set", "a=\"$HOME\" 5%"],
            "uid": 404,
            "environment": {"HOME": "/var/lib/keystone", "ARGS": "+S 1:1 -x {127,0,0,1}"},
            "after": ["mariadb", "memcached"],
            "modules": [], "privileges": {}, "stop": "all",
            "files": [{"path": "/etc/keystone/keystone.conf", "mode": 256, "content": "hunter2"}],
            "volumes": [{"host": "/var/lib/overcloud/keystone", "path": "/var/lib/keystone",
                "mode": 488, "uid": 404, "shared": false, "existing": false}],
        });
        for (key, value) in fields.as_object().unwrap() {
            setup[key] = value.clone();
        }
        serde_json::from_value(setup).unwrap()
    }

    fn text(fields: Value) -> String {
        render(&setup(fields), "192.168.24.1:8443/x@sha256:00").unwrap()
    }

    #[test]
    fn an_ordinary_service() {
        insta::assert_snapshot!(text(json!({"yields_to": ["http://172.17.0.10:8774/"]})));
    }

    #[test]
    fn a_privileged_service_whose_children_outlive_it() {
        insta::assert_snapshot!(text(json!({
            "name": "libvirt", "summary": "libvirt and QEMU", "command": ["libvirtd"], "uid": 0,
            "environment": {}, "after": [], "files": [], "stop": "main",
            "privileges": {"privileged": true, "host_pid": true},
            "volumes": [{"host": "/run/netns", "path": "/run/netns", "mode": 493, "uid": 0,
                "shared": true, "existing": false}],
        })));
    }

    #[test]
    fn privileges_are_what_is_asked_for() {
        let lines = |privileges: Value, uid: u32| {
            let text = text(json!({"privileges": privileges, "uid": uid}));
            let keys = ["DropCapability", "AddCapability", "NoNewPrivileges", "PodmanArgs"];
            let lines = text.lines().filter(|l| keys.iter().any(|k| l.starts_with(k)));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let none = ["DropCapability=all", "NoNewPrivileges=true"];
        assert_eq!(lines(json!({}), 404), none);
        assert_eq!(lines(json!({"capabilities": []}), 0), none);
        assert!(lines(json!({}), 0).is_empty());
        assert_eq!(
            lines(json!({"capabilities": ["NET_ADMIN", "SYS_NICE"]}), 0),
            [none[0], none[1], "AddCapability=NET_ADMIN SYS_NICE"]
        );
        assert_eq!(lines(json!({"privileged": true}), 0), ["PodmanArgs=--privileged"]);
    }

    #[test]
    fn devices_are_what_is_asked_for() {
        assert!(!text(json!({})).contains("AddDevice"));
        let text = text(json!({"devices": ["/dev/net/tun"]}));
        assert_eq!(text.matches("AddDevice=/dev/net/tun\n").count(), 1, "{text}");
        for bad in
            ["dev/net/tun", "/etc/shadow", "/dev/../etc/shadow", "/dev/a:/dev/b", "/dev/a\nUser=0"]
        {
            let error = render(&setup(json!({"devices": [bad]})), "x").unwrap_err();
            assert_eq!(error.kind, StepFailureKind::Unsupported, "{bad}");
        }
    }

    #[test]
    fn children_outlive_only_what_can_let_them() {
        for privileges in [json!({}), json!({"privileged": true}), json!({"host_pid": true})] {
            let setup = setup(json!({"stop": "main", "privileges": privileges}));
            assert_eq!(render(&setup, "x").unwrap_err().kind, StepFailureKind::Unsupported);
        }
    }
}
