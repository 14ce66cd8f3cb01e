//! The client's questions about the lab's machines.

use http::Method;

use super::{Answer, Client};
use crate::{
    admin::{LabMachine, LabPower, LabRequest},
    escape::segment,
};

impl Client {
    /// The lab's machines.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn lab(&self) -> Answer<Vec<LabMachine>> {
        self.get("/v1/lab").await
    }

    /// Starts or stops a machine of the lab.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn lab_power(&self, machine: &str, power: LabPower) -> Answer<LabMachine> {
        let path = format!("/v1/lab/{}", segment(machine));
        self.json(Method::POST, &path, Some(&LabRequest { power })).await
    }
}
