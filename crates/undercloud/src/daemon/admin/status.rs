//! What runs, what failed, and what to type next.

use std::collections::BTreeMap;

use undercloud_api::{
    ApiError,
    admin::{
        CloudStatus, Endpoint, ImagesApi as _, InstallationView, LastFailure, Status, StatusApi,
        Trouble,
    },
};
use undercloud_model::{PowerState, node::ProvisionState};

use super::Admin;
use crate::daemon::{
    agents::api_error,
    cloud_watch::{self, CLOUD},
    descriptors, retention,
};

impl Admin {
    fn endpoints(&self) -> Vec<Endpoint> {
        let redfish = self.redfish.address();
        let redfish = redfish.map(|address| Endpoint {
            name: "redfish".into(),
            address: format!("https://{address}/redfish/v1"),
        });
        let site = self.site.endpoints();
        self.endpoints.iter().cloned().chain(site).chain(redfish).collect()
    }

    async fn cloud(&self) -> Result<Option<CloudStatus>, ApiError> {
        let newest = self.clouds.deployments().await?.into_iter().next();
        Ok(newest.map(|row| CloudStatus {
            deployment: row.number,
            started_at: row.started_at,
            is_over: row.ended_at.is_some(),
            failure: row.failure,
            is_verified: row.verification.is_some_and(|v| v["passed"] == true),
        }))
    }

    async fn last_failure(&self) -> Result<Option<LastFailure>, ApiError> {
        let latest = self.store.newest_failure().await.map_err(api_error)?;
        Ok(latest.map(|(name, error)| LastFailure {
            at: error.at,
            node: Some(name.to_string()),
            message: error.text,
        }))
    }
}

/// What to type next, from what there is.
fn next(
    images: usize,
    machines: u32,
    nodes: &BTreeMap<String, u32>,
    cloud: Option<&CloudStatus>,
    troubles: &[Trouble],
) -> Vec<String> {
    let count = |state: ProvisionState| nodes.get(state.as_str()).copied().unwrap_or_default();
    let total: u32 = nodes.values().sum();
    // A cloud that was complete and is ill: what its troubles say comes before all that needs it.
    let is_of_cloud = |trouble: &&Trouble| trouble.machine.is_some() || trouble.part == CLOUD;
    let remedies: Vec<String> =
        troubles.iter().filter(is_of_cloud).filter_map(|trouble| trouble.hint.clone()).collect();
    if cloud.is_some_and(|cloud| cloud.is_over && cloud.failure.is_none()) && !remedies.is_empty() {
        return remedies;
    }
    let next = if images == 0 {
        "undercloud image build"
    } else if machines == 0 && total == 0 {
        "undercloud lab create, or undercloud node import FILE for machines that you have"
    } else if total == 0 {
        "undercloud node import <state>/instackenv.json"
    } else if count(ProvisionState::Active) < total {
        "undercloud up, or undercloud node list"
    } else {
        match cloud {
            None => "undercloud cloud plan, then undercloud cloud install",
            Some(cloud) if !cloud.is_over || cloud.failure.is_some() => {
                "undercloud cloud install: it resumes"
            }
            Some(cloud) if !cloud.is_verified => "undercloud cloud verify",
            Some(_) => "openstack --os-cloud overcloud server list",
        }
    };
    vec![next.to_owned()]
}

/// What to type while an installation is under way.
fn follow(installation: &InstallationView) -> String {
    match installation.deadline {
        Some(_) => "undercloud cloud install follows what is under way; undercloud events".into(),
        None => format!("installation {} {}", installation.number, installation.text),
    }
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or_default();
    pages * rustix::param::page_size() as u64
}

impl StatusApi for Admin {
    async fn status(&self) -> Result<Status, ApiError> {
        let states = self.store.states().await.map_err(api_error)?.into_iter();
        let nodes: BTreeMap<String, u32> =
            states.map(|(state, count)| (state.as_str().to_owned(), count)).collect();
        let machines = self.site.machines();
        let count = |machines: usize| u32::try_from(machines).unwrap_or(u32::MAX);
        let running = machines.iter().filter(|m| m.power == PowerState::On).count();
        let images = self.images().await?.len();
        let cloud = self.cloud().await?;
        let installation = self.clouds.newest_installation().await?;
        let mut troubles = self.troubles.list();
        let powers = cloud_watch::lab_powers(&machines);
        troubles.extend(cloud_watch::troubles(&self.store, &powers).await.map_err(api_error)?);
        let next = match installation.as_ref().filter(|installation| !installation.is_over) {
            Some(installation) => vec![follow(installation)],
            None => next(images, count(machines.len()), &nodes, cloud.as_ref(), &troubles),
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state_dir: self.state.root().display().to_string(),
            definitions: self.clouds.definitions(),
            started_at: self.started_at,
            rss_bytes: resident_bytes(),
            endpoints: self.endpoints(),
            lab_running: (count(running), count(machines.len())),
            last_failure: self.last_failure().await?,
            cursor: self.store.last_event().await.map_err(api_error)?,
            tasks: Vec::new(),
            background: self.tasks.list(),
            troubles,
            descriptors: descriptors::now(),
            room: retention::room(&self.state, &self.store).await,
            next,
            installation,
            cloud,
            nodes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_follows_from_what_there_is() {
        let nodes = |state: &str| BTreeMap::from([(state.to_owned(), 2)]);
        let none = BTreeMap::new();
        assert!(next(0, 0, &none, None, &[])[0].contains("image build"));
        assert!(next(5, 0, &none, None, &[])[0].contains("lab create"));
        assert!(next(5, 2, &none, None, &[])[0].contains("node import"));
        assert!(next(5, 2, &nodes("available"), None, &[])[0].contains("up"));
        assert!(next(5, 2, &nodes("active"), None, &[])[0].contains("cloud plan"));
        let mut cloud = CloudStatus {
            deployment: 1,
            started_at: 1,
            is_over: true,
            failure: Some("compute-0 was switched off".into()),
            is_verified: false,
        };
        assert!(next(5, 2, &nodes("active"), Some(&cloud), &[])[0].contains("resumes"));
        cloud.failure = None;
        assert!(next(5, 2, &nodes("active"), Some(&cloud), &[])[0].contains("verify"));
        cloud.is_verified = true;
        assert!(next(5, 2, &nodes("active"), Some(&cloud), &[])[0].contains("openstack"));

        // With a password that Keystone does not take, no client gets in.
        let trouble = |part: &str, hint: &str| Trouble {
            part: part.to_owned(),
            since: 1,
            message: "x".to_owned(),
            hint: Some(hint.to_owned()),
            machine: None,
            service: None,
            is_absent: false,
            said: Vec::new(),
        };
        let troubles = [trouble("network boot", "other"), trouble(CLOUD, "set it back")];
        assert_eq!(next(5, 2, &nodes("active"), Some(&cloud), &troubles), ["set it back"]);
        cloud.failure = Some("x".into());
        assert!(next(5, 2, &nodes("active"), Some(&cloud), &troubles)[0].contains("resumes"));
    }
}
