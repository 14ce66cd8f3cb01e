//! Virtual BMCs of libvirt's domains.

use undercloud_api::{
    ApiError,
    admin::{BmcQuery, BmcRequest, BmcSwitch, BmcView, BmcsApi},
};

use super::Admin;

impl BmcsApi for Admin {
    async fn bmcs(&self) -> Result<Vec<BmcView>, ApiError> {
        Ok(self.domains.list())
    }

    async fn bmc(&self, domain: &str, query: BmcQuery) -> Result<BmcView, ApiError> {
        self.domains.show(domain, query)
    }

    async fn add_bmc(&self, request: BmcRequest) -> Result<BmcView, ApiError> {
        self.domains.add(request).await
    }

    async fn switch_bmc(&self, domain: &str, switch: BmcSwitch) -> Result<BmcView, ApiError> {
        self.domains.switch(domain, switch).await
    }

    async fn remove_bmc(&self, domain: &str) -> Result<(), ApiError> {
        self.domains.remove(domain).await
    }
}
