//! Plans of earlier deployments, as far as they are needed still. They were made by whatever version
//! was in use then: of a plan that is kept only what is asked for is read, and one that cannot be
//! read stands in nobody's way.

use serde::Deserialize;
use serde_json::Value;
use undercloud_api::ApiError;
use undercloud_cloud::plan::{CloudSummary, MachineAddresses};
use undercloud_model::{ErrorKind, NodeName};
use undercloud_store::DeploymentRow;

/// A machine of a cloud that was planned.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct KeptMachine {
    pub(super) name: NodeName,
    #[serde(default)]
    pub(super) role: String,
    #[serde(default)]
    pub(super) addresses: Option<MachineAddresses>,
}

/// The machines of a plan; those that cannot be read are left out.
pub(super) fn machines(plan: &Value) -> Vec<KeptMachine> {
    let machines = plan["machines"].as_array().map(Vec::as_slice).unwrap_or_default();
    machines.iter().filter_map(|machine| KeptMachine::deserialize(machine).ok()).collect()
}

/// How users see the cloud of a deployment.
///
/// # Errors
/// Another version of this program planned it, with other words.
pub(super) fn cloud(row: &DeploymentRow<Value>) -> Result<CloudSummary, ApiError> {
    CloudSummary::deserialize(&row.plan["cloud"]).map_err(|error| {
        let message = format!(
            "the plan of deployment {} was made by another version of this program ({error})",
            row.number
        );
        ApiError::new(ErrorKind::Conflict, message)
            .hint("undercloud cloud install: it plans anew, and changes only what differs")
    })
}

/// The newest deployment, if its last run came to a good end.
///
/// # Errors
/// It did not, or there is none: each in its own words.
pub(super) fn complete(
    newest: Option<DeploymentRow<Value>>,
) -> Result<DeploymentRow<Value>, ApiError> {
    let nothing =
        || ApiError::not_found("no cloud was installed yet").hint("undercloud cloud install");
    let row = newest.ok_or_else(nothing)?;
    if row.is_complete() {
        return Ok(row);
    }
    let came_to = match &row.failure {
        Some(failure) => format!("failed: {failure}"),
        None => "is under way, or was broken off".to_owned(),
    };
    let message = format!("run {} of deployment {} {came_to}", row.attempt, row.number);
    Err(ApiError::new(ErrorKind::Conflict, message)
        .hint("undercloud cloud install goes on where it was; undercloud cloud show"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use undercloud_model::Digest;

    use super::*;

    fn row(ended_at: Option<i64>, failure: Option<&str>, plan: Value) -> DeploymentRow<Value> {
        DeploymentRow {
            number: 3,
            digest: Digest::from_bytes([1; 32]),
            plan,
            created_at: 1,
            attempt: 2,
            started_at: 1,
            ended_at,
            failure: failure.map(str::to_owned),
            verification: None,
        }
    }

    #[test]
    fn a_run_that_failed_is_not_called_no_cloud() {
        assert_eq!(complete(None).unwrap_err().kind, ErrorKind::NotFound);
        complete(Some(row(Some(2), None, json!({})))).unwrap();
        let failed = complete(Some(row(Some(2), Some("Keystone answered 401"), json!({}))));
        let failed = failed.unwrap_err();
        assert_eq!(failed.message, "run 2 of deployment 3 failed: Keystone answered 401");
        let under_way = complete(Some(row(None, None, json!({})))).unwrap_err();
        assert!(under_way.message.ends_with("is under way, or was broken off"), "{under_way}");
        for error in [failed, under_way] {
            assert_eq!(error.kind, ErrorKind::Conflict);
            assert!(error.hint.unwrap().contains("undercloud cloud install"));
        }
    }

    #[test]
    fn of_a_plan_of_another_version_what_can_be_read_is() {
        let addresses = json!({ "internal": "172.16.2.10", "public": null });
        let plan = json!({
            "cloud": { "called": "otherwise" },
            "machines": [
                { "name": "a", "role": "controller", "addresses": addresses, "steps": 7 },
                { "name": "b" },
                { "name": "", "role": 7 },
                "c",
            ],
            "steps": [{ "a step that nobody knows": {} }],
        });
        let machines = machines(&plan);
        let names: Vec<_> = machines.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(machines[0].addresses.as_ref().unwrap().internal.octets(), [172, 16, 2, 10]);
        assert_eq!(machines[1].addresses, None);
        assert!(super::machines(&json!(null)).is_empty());
        let error = cloud(&row(Some(2), None, plan)).unwrap_err();
        assert!(error.message.contains("another version"), "{error}");
    }
}
