//! The lab's machines and their power buttons.

use undercloud_api::{
    ApiError,
    admin::{LabApi, LabMachine, LabPower},
};
use undercloud_model::Caller;

use super::Admin;

impl LabApi for Admin {
    async fn lab(&self) -> Result<Vec<LabMachine>, ApiError> {
        Ok(self.site.machines())
    }

    async fn lab_power(
        &self,
        caller: &Caller,
        machine: &str,
        power: LabPower,
    ) -> Result<LabMachine, ApiError> {
        tracing::info!(%caller, machine, ?power, "a power button is pressed");
        self.site.power(machine, power).await
    }
}
