//! Checks the cloud of an installation, as its users meet it, once for each deployment. That is
//! blocking work on a thread of its own; it ends with the process, and the next begins it anew: the
//! checks remove what a broken run left.

use std::sync::Arc;

use serde_json::Value;
use undercloud_api::{ApiError, admin::Reporter};
use undercloud_model::{
    ErrorKind,
    installation::{Event, Failure, Installation},
};

use super::{super::agents::api_error, CameOf, Installer, With};
use crate::{
    failure,
    verify::{self, Said},
};

impl Installer {
    /// Checks the cloud, unless it was.
    ///
    /// # Errors
    /// The checks could not begin.
    pub(super) async fn check(
        &self,
        at: &Installation,
        reporter: &Arc<Reporter>,
    ) -> Result<CameOf, ApiError> {
        if verify::passed(self.verification(at).await?.as_ref()).is_some() {
            return Ok(CameOf::alone(Event::ChecksPassed));
        }
        let access = self.clouds.access().await?;
        let (ground, lines) = (self.ground.clone(), reporter.clone());
        let said = Said::Lines(Box::new(move |line| lines.line(line)));
        let checking = tokio::task::spawn_blocking(move || ground.verify(&access, said));
        let report = checking.await.unwrap_or_else(|error| Err(anyhow::Error::new(error)));
        let kept = verify::kept(&report);
        let event = match &report {
            Ok(report) => {
                reporter.line(verify::conclusion(report));
                Event::ChecksPassed
            }
            Err(error) => {
                let shown = failure::shown(error, None);
                let kind = shown.kind.unwrap_or(ErrorKind::Bug);
                let hint = shown.hint.or_else(|| Some("undercloud cloud verify".to_owned()));
                Event::Failed(Failure { kind, message: shown.message, hint })
            }
        };
        Ok(CameOf { event, with: With::Verification(kept) })
    }

    /// One line on the checks of its deployment.
    pub(super) async fn verified(&self, at: &Installation) -> Result<String, ApiError> {
        Ok(verify::summary(self.verification(at).await?.as_ref()))
    }

    async fn verification(&self, at: &Installation) -> Result<Option<Value>, ApiError> {
        let Some(number) = at.deployment else { return Ok(None) };
        let row = self.clouds.store.deployment::<Value>(number).await.map_err(api_error)?;
        Ok(row.and_then(|row| row.verification))
    }
}
