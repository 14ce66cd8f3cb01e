//! Long work: which part of the daemon does which task.

use std::sync::Arc;

use serde_json::{Value, json};
use undercloud_api::{
    ApiError,
    admin::{Reporter, TaskRequest, TasksApi},
};
use undercloud_model::Caller;

use super::Admin;

impl TasksApi for Admin {
    async fn run(
        self: Arc<Self>,
        caller: Caller,
        task: TaskRequest,
        reporter: Reporter,
    ) -> Result<Value, ApiError> {
        tracing::info!(%caller, task = task.name(), "a task is asked for");
        match task {
            TaskRequest::LabCreate { description, kind } => {
                self.site.create(&description, kind, &reporter).await?;
            }
            TaskRequest::LabDelete => {
                let enrolled = self.enrolled_of_lab().await?;
                self.site.delete().await?;
                return Ok(json!({ "enrolled": enrolled }));
            }
            TaskRequest::LabGrow { group, count } => {
                let new = self.site.grow(&group, count, &reporter).await?;
                return Ok(json!({ "new": new }));
            }
            TaskRequest::LabShrink { machines, force } => {
                let gone = self.shrink_lab(&caller, machines.into_iter().collect(), force).await?;
                return Ok(json!({ "gone": gone }));
            }
            TaskRequest::CloudInstall { description, ssh_keys, until } => {
                return self
                    .installer
                    .install(&caller, (description, ssh_keys, until), reporter)
                    .await;
            }
        }
        Ok(Value::Null)
    }
}
