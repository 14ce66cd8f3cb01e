//! Machines that come to the lab and go from it, while the daemon and the other machines run.

use std::collections::BTreeSet;

use undercloud_api::{ApiError, admin::Reporter};
use undercloud_model::NodeName;

use super::{Running, RunningLab, Site, refused};

impl Site {
    /// Lets a group of the lab's machines have `count` of them, or one more than now; says which are
    /// new.
    ///
    /// # Errors
    /// There is no lab, no such group, no room for more, or something cannot be made.
    pub(crate) async fn grow(
        &self,
        group: &str,
        count: Option<usize>,
        reporter: &Reporter,
    ) -> Result<Vec<NodeName>, ApiError> {
        let _alone = self.changing.lock().await;
        let running = self.now();
        let lab = of(running.as_deref())?;
        let before = lab.lab();
        let grown = before.grow(group, count).await.map_err(refused)?;
        self.deps.note_machines(&grown).await?;
        lab.set(grown.clone());
        self.deps.start_bmcs(&grown, &lab.bmcs).await?;
        let names = grown.machines().map(|machine| machine.name().clone());
        let new: Vec<NodeName> =
            names.filter(|name| before.machine(name.as_str()).is_err()).collect();
        for name in &new {
            let address = lab.bmcs.address(name).map(|a| a.to_string()).unwrap_or_default();
            reporter.line(format_args!("{name}: BMC {address}"));
        }
        Ok(new)
    }

    /// Takes machines away from the lab, with their disks, links and BMCs; says which were there.
    ///
    /// # Errors
    /// There is no lab, no machine would be left, or something cannot be removed. Those are the
    /// lab's no more all the same; asked again, the rest of them goes.
    pub(crate) async fn shrink(
        &self,
        names: &BTreeSet<NodeName>,
    ) -> Result<Vec<NodeName>, ApiError> {
        let _alone = self.changing.lock().await;
        let running = self.now();
        let lab = of(running.as_deref())?;
        let (smaller, gone) = lab.lab().without(names).map_err(refused)?;
        // From here on nobody is shown them, and nobody can switch them on.
        lab.set(smaller.clone());
        lab.bmcs.stop(|name| names.contains(name)).await;
        for machine in &gone {
            smaller.take_away(machine).await.map_err(refused)?;
        }
        smaller.finish_leaving().await.map_err(refused)?;
        self.deps.note_machines(&smaller).await?;
        self.deps.start_bmcs(&smaller, &lab.bmcs).await?;
        Ok(gone.iter().map(|machine| machine.name().clone()).collect())
    }
}

fn of(running: Option<&Running>) -> Result<&RunningLab, ApiError> {
    let nothing = || ApiError::not_found("there is no lab").hint("undercloud lab create");
    running.and_then(Running::lab).ok_or_else(nothing)
}
