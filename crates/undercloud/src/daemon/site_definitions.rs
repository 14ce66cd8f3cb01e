//! A site's own definitions as the daemon plans with them: read anew for each plan.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use undercloud_api::{
    ApiError,
    admin::{SiteFile, SiteView},
};
use undercloud_cloud::{
    Definitions, Plan,
    definition::Overlay,
    diff,
    plan::{PlanError, StepKey},
};
use undercloud_model::ErrorKind;

use crate::definitions::{self, is_shipped};

/// So long what was read is good for whoever explains a failure: a machine in trouble tells of it in
/// every heartbeat, and a file that a site changes is soon heard of.
const KNOWN_MAX: Duration = Duration::from_secs(10);

/// What was read, and when.
type Known = Option<(Instant, Arc<Definitions>)>;

/// The directory of a site's own definitions, where there may be one.
#[derive(Debug, Clone, Default)]
pub(crate) struct SiteDefinitions {
    directory: Option<PathBuf>,
    known: Arc<Mutex<Known>>,
}

impl SiteDefinitions {
    /// In that directory, which need not be there.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory: Some(directory), ..Self::default() }
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> String {
        self.directory.iter().map(|directory| directory.display().to_string()).collect()
    }

    /// All definitions, and those of them that are the site's.
    ///
    /// # Errors
    /// The first fault of a file, with its path.
    pub(super) fn read(&self) -> Result<(Definitions, Overlay), ApiError> {
        let overlay = match &self.directory {
            Some(directory) => definitions::read(directory)
                .map_err(|error| ApiError::invalid(format!("{error:#}")))?,
            None => Overlay::default(),
        };
        let all = Definitions::of_site(&overlay)
            .map_err(|error| ApiError::invalid(format!("{}/{error}", self.directory())))?;
        Ok((all, overlay))
    }

    /// All definitions, for whoever explains a failure: as they were read a moment ago, or as they were
    /// before, or as they ship, when a file of the site's is wrong now.
    pub(super) fn known(&self) -> Option<Arc<Definitions>> {
        // Nothing that holds the lock can stop half-way.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, definitions)) = &*known
            && read_at.elapsed() < KNOWN_MAX
        {
            return Some(definitions.clone());
        }
        let before = known.take().map(|(_, definitions)| definitions);
        let definitions = match self.read() {
            Ok((definitions, _)) => Arc::new(definitions),
            Err(error) => {
                tracing::warn!(error = error.message, "a site's definitions are wrong");
                before.or_else(|| Definitions::shipped().ok().map(Arc::new))?
            }
        };
        *known = Some((Instant::now(), definitions.clone()));
        Some(definitions)
    }

    /// What the site's files change in `plan`; `planned` makes one of other definitions.
    pub(super) fn changes(
        &self,
        overlay: &Overlay,
        plan: &Plan,
        planned: impl Fn(&Definitions) -> Result<Plan, PlanError>,
    ) -> Result<Option<SiteView>, ApiError> {
        if overlay.is_empty() {
            return Ok(None);
        }
        let shipped =
            Definitions::shipped().map_err(|error| ApiError::new(ErrorKind::Bug, error))?;
        // Without them there may be none: a site has roles that its machines need.
        let without = planned(&shipped).ok();
        let difference = without.map(|without| diff(&without, plan)).unwrap_or_default();
        let keys = |keys: Vec<StepKey>| keys.iter().map(ToString::to_string).collect();
        let files = overlay.effects(is_shipped).map(|(path, effect)| SiteFile {
            path: path.to_owned(),
            effect: effect.as_str().to_owned(),
        });
        Ok(Some(SiteView {
            directory: self.directory(),
            files: files.collect(),
            added: keys(difference.added),
            changed: keys(difference.changed),
            removed: keys(difference.removed),
        }))
    }
}
