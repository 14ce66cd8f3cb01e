//! The lab's machines and their power buttons.

use undercloud_api::{
    ApiError,
    admin::{LabApi, LabMachine, LabPower},
};

use super::Admin;

impl LabApi for Admin {
    async fn lab(&self) -> Result<Vec<LabMachine>, ApiError> {
        Ok(self.site.machines())
    }

    async fn lab_power(&self, machine: &str, power: LabPower) -> Result<LabMachine, ApiError> {
        self.site.power(machine, power).await
    }
}
