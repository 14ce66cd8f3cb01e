//! The client's questions about virtual BMCs of libvirt's domains.

use http::Method;

use super::{Answer, Client};
use crate::{
    admin::{BmcOrder, BmcRequest, BmcSwitch, BmcView},
    escape::segment,
};

impl Client {
    /// All of them.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn bmcs(&self) -> Answer<Vec<BmcView>> {
        self.get("/v1/bmcs").await
    }

    /// One of them, with its password if that is wanted.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn bmc(&self, domain: &str, password: bool) -> Answer<BmcView> {
        self.get(&format!("/v1/bmcs/{}?password={password}", segment(domain))).await
    }

    /// Makes one; the answer has its password.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn add_bmc(&self, request: &BmcRequest) -> Answer<BmcView> {
        self.json(Method::POST, "/v1/bmcs", Some(request)).await
    }

    /// Starts or stops one.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn switch_bmc(&self, domain: &str, switch: BmcSwitch) -> Answer<BmcView> {
        let path = format!("/v1/bmcs/{}", segment(domain));
        self.json(Method::POST, &path, Some(&BmcOrder { switch })).await
    }

    /// Takes one away; the domain stays.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn remove_bmc(&self, domain: &str) -> Answer<()> {
        let path = format!("/v1/bmcs/{}", segment(domain));
        self.nothing(Method::DELETE, &path, None::<&()>).await
    }
}
