//! Virtual BMCs of libvirt's domains.

use undercloud_api::{
    ApiError,
    admin::{BmcQuery, BmcRequest, BmcSwitch, BmcView, BmcsApi},
};
use undercloud_model::Caller;

use super::Admin;

impl BmcsApi for Admin {
    async fn bmcs(&self) -> Result<Vec<BmcView>, ApiError> {
        Ok(self.domains.list())
    }

    async fn bmc(&self, domain: &str, query: BmcQuery) -> Result<BmcView, ApiError> {
        self.domains.show(domain, query)
    }

    async fn add_bmc(&self, caller: &Caller, request: BmcRequest) -> Result<BmcView, ApiError> {
        tracing::info!(%caller, domain = request.domain_name, "a virtual BMC is made");
        self.domains.add(request).await
    }

    async fn switch_bmc(
        &self,
        caller: &Caller,
        domain: &str,
        switch: BmcSwitch,
    ) -> Result<BmcView, ApiError> {
        tracing::info!(%caller, domain, ?switch, "a virtual BMC is switched");
        self.domains.switch(domain, switch).await
    }

    async fn remove_bmc(&self, caller: &Caller, domain: &str) -> Result<(), ApiError> {
        tracing::info!(%caller, domain, "a virtual BMC is removed");
        self.domains.remove(domain).await
    }
}
