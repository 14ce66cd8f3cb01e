//! Nova: the server, what its console says, and its screen.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use undercloud_api::admin::Trouble;
use undercloud_model::ErrorKind;

use super::{
    NAME,
    console::Console,
    id_of, listed,
    network::Networks,
    session::{Service::Compute, Session},
    wait::{Seen, Watched, until},
};
use crate::failure::Failure;

/// Scheduling, the image to the compute machine, its port: minutes where all is emulated.
const ACTIVE: Duration = Duration::from_secs(600);
/// An emulated guest in an emulated machine.
const READY: Duration = Duration::from_secs(600);
const GONE: Duration = Duration::from_secs(180);
/// Lines of the console that are asked for: all of ours, and some of the kernel's.
const CONSOLE_LINES: u32 = 300;
/// The first version of Nova's API with `remote-consoles`.
const CONSOLES_VERSION: &str = "compute 2.6";
const CONSOLE_HINT: &str = "openstack --os-cloud overcloud console log show undercloud-verify";

/// What is known to be wrong with the cloud.
pub(super) type Troubles<'a> = dyn Fn() -> Result<Vec<Trouble>> + 'a;

/// What a server is made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) image: &'a str,
    pub(super) flavor: &'a str,
    pub(super) networks: &'a Networks,
    pub(super) public_key: &'a str,
    pub(super) user_data: &'a str,
}

/// The compute services that are up; waits for them elsewhere.
pub(super) fn compute_services(session: &Session) -> Result<Seen<usize>> {
    let answer = session.get(Compute, "/os-services?binary=nova-compute")?;
    let services = answer["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    let up = services.iter().filter(|service| service["state"] == "up").count();
    Ok(match (services.len(), up) {
        (0, _) => Seen::NotYet("Nova knows no compute machine".to_owned()),
        (all, up) if up < all => Seen::NotYet(format!("{up} of {all} compute services are up")),
        (_, up) => Seen::Yes(up),
    })
}

/// Has the server made. Returns its id.
pub(super) fn create(session: &Session, parts: &Parts<'_>) -> Result<String> {
    let keypair = json!({ "keypair": { "name": NAME, "public_key": parts.public_key } });
    session.post(Compute, "/os-keypairs", &keypair)?;
    let server = json!({ "server": {
        "name": NAME,
        "imageRef": parts.image,
        "flavorRef": parts.flavor,
        "key_name": NAME,
        "networks": [{ "uuid": parts.networks.network }],
        "security_groups": [{ "name": parts.networks.security_group }],
        "user_data": STANDARD.encode(parts.user_data),
    }});
    id_of(&session.post(Compute, "/servers", &server)?["server"])
}

/// For Nova to say why a server failed.
const REASON: Duration = Duration::from_secs(10);

/// Waits until it is active. Returns the machine it is on.
pub(super) fn active(session: &Session, server: &str, troubles: &Troubles<'_>) -> Result<String> {
    let watched = Watched::new(troubles);
    let hint = "`undercloud logs` lists the logs of nova-compute and nova-conductor";
    let mut failed_at = None;
    until("an active server", ACTIVE, hint, || {
        let answer = session.get(Compute, &format!("/servers/{server}"))?;
        let server = &answer["server"];
        let word = |key: &str| server[key].as_str().unwrap_or("?").to_owned();
        match server["status"].as_str() {
            Some("ACTIVE") => Ok(Seen::Yes(word("OS-EXT-SRV-ATTR:host"))),
            // Nova writes the reason after the status.
            Some("ERROR")
                if server["fault"].is_null()
                    && failed_at.get_or_insert_with(Instant::now).elapsed() < REASON =>
            {
                Ok(Seen::NotYet("it is in ERROR".to_owned()))
            }
            Some("ERROR") => Err(fault(server).into()),
            _ => {
                watched.look("an active server")?;
                let (status, task) = (word("status"), word("OS-EXT-STS:task_state"));
                Ok(Seen::NotYet(format!("its status is {status}, its task {task}")))
            }
        }
    })
}

/// Why Nova gave it up.
fn fault(server: &Value) -> Failure {
    let said = server["fault"]["message"].as_str().unwrap_or("Nova gives no reason");
    let host = server["OS-EXT-SRV-ATTR:host"].as_str();
    let hint = match host {
        None if said.contains("No valid host") => {
            "no compute machine has room for it: openstack --os-cloud overcloud hypervisor list"
                .to_owned()
        }
        None => "`undercloud logs` lists the logs of nova-scheduler and nova-conductor".to_owned(),
        Some(host) => format!("`undercloud logs` lists the log of nova-compute on {host}"),
    };
    let place = host.map(|host| format!(" on {host}")).unwrap_or_default();
    Failure::new(ErrorKind::Unavailable, format!("the server went into ERROR{place}: {said}"))
        .hint(hint)
}

/// Waits until the server says that it has done all, and gives what it said.
pub(super) fn ready(session: &Session, server: &str, troubles: &Troubles<'_>) -> Result<Console> {
    let watched = Watched::new(troubles);
    until("the server's start", READY, CONSOLE_HINT, || {
        let request = json!({ "os-getConsoleOutput": { "length": CONSOLE_LINES } });
        let answer = session.post_early(Compute, &format!("/servers/{server}/action"), &request)?;
        let text = answer.as_ref().and_then(|answer| answer["output"].as_str()).unwrap_or_default();
        let console = Console::parse(text);
        if let Some(panic) = console.panic {
            let message = format!("the server's kernel ended: {panic}");
            return Err(Failure::new(ErrorKind::Unavailable, message).hint(CONSOLE_HINT).into());
        }
        if console.ready {
            return Ok(Seen::Yes(console));
        }
        watched.look("the server's start")?;
        Ok(Seen::NotYet(console.progress()))
    })
}

/// Looks that the server knows who it is and could reach what it must, and nothing else.
pub(super) fn isolated(console: &Console, server: &str, expected: &[(String, bool)]) -> Result<()> {
    if console.uuid.as_deref() != Some(server) {
        let uuid = console.uuid.as_deref().unwrap_or("nobody");
        let message = format!("the metadata service tells server {server} that it is {uuid}");
        return Err(Failure::new(ErrorKind::Bug, message).hint(CONSOLE_HINT).into());
    }
    for (target, wanted) in expected {
        let found = console.reached.iter().find(|(tried, _)| tried == target).map(|(_, yes)| *yes);
        let message = match (found, wanted) {
            (Some(found), wanted) if found == *wanted => continue,
            (Some(true), _) => format!("the server reaches {target}, and must not"),
            (Some(false), _) => format!("the server does not reach {target}"),
            (None, _) => format!("the server did not say whether it reaches {target}"),
        };
        return Err(Failure::new(ErrorKind::Bug, message).hint(CONSOLE_HINT).into());
    }
    Ok(())
}

/// Asks for the server's screen, and for the page that shows it.
pub(super) fn screen(session: &Session, server: &str) -> Result<String> {
    let request = json!({ "remote_console": { "protocol": "vnc", "type": "novnc" } });
    let path = format!("/servers/{server}/remote-consoles");
    let answer = session.post_as_of(CONSOLES_VERSION, &path, &request)?;
    let url = answer["remote_console"]["url"].as_str().context("Nova gives no console URL")?;
    let page = session.page(url)?;
    if page.contains("noVNC") {
        // What follows is a ticket.
        return Ok(url.split('?').next().unwrap_or_default().to_owned());
    }
    let message = "the page of the server's console is not noVNC's";
    Err(Failure::new(ErrorKind::Unavailable, message).hint(format!("open {url}")).into())
}

/// Removes servers and the key of earlier runs.
pub(super) fn remove(session: &Session) -> Result<usize> {
    let servers = session.get(Compute, &format!("/servers?name={NAME}"))?;
    let servers = listed(&servers, "servers");
    for server in &servers {
        session.delete(Compute, &format!("/servers/{server}"))?;
    }
    for server in &servers {
        let hint = "`undercloud logs` lists the log of nova-compute";
        until("the server's removal", GONE, hint, || {
            Ok(match session.find(Compute, &format!("/servers/{server}"))? {
                None => Seen::Yes(()),
                Some(answer) => {
                    let status = answer["server"]["status"].as_str().unwrap_or("?");
                    Seen::NotYet(format!("its status is {status}"))
                }
            })
        })?;
    }
    session.delete(Compute, &format!("/os-keypairs/{NAME}"))?;
    Ok(servers.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_quoted() {
        let server = json!({ "fault": { "code": 500, "message": "No valid host was found. " } });
        let failure = fault(&server);
        assert_eq!(failure.message, "the server went into ERROR: No valid host was found. ");
        assert!(failure.hint.unwrap().contains("hypervisor list"));
        let server = json!({ "OS-EXT-SRV-ATTR:host": "compute-0", "fault": { "message": "x" } });
        let failure = fault(&server);
        assert_eq!(failure.message, "the server went into ERROR on compute-0: x");
    }

    #[test]
    fn what_is_reached_must_be_as_expected() {
        let text = "undercloud-test: metadata uuid=u name=n\nundercloud-test: reach a:1 no\n\
                    undercloud-test: reach b:icmp yes\n";
        let console = Console::parse(text);
        let check = |target: &str, wanted| isolated(&console, "u", &[(target.to_owned(), wanted)]);
        check("a:1", false).unwrap();
        check("b:icmp", true).unwrap();
        let said = |result: Result<()>| result.unwrap_err().to_string();
        assert_eq!(said(check("b:icmp", false)), "the server reaches b:icmp, and must not");
        assert_eq!(said(check("a:1", true)), "the server does not reach a:1");
        assert!(said(check("c:1", false)).contains("did not say"));
        assert!(said(isolated(&console, "v", &[])).contains("that it is u"));
    }
}
