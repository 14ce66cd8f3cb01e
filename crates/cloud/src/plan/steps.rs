//! The steps and what each needs.
//!
//! ```text
//! agent ┬ network ───────┐
//!       └ images ── pull ┼─ apply ── await ── bootstrap ─┬─ apply of what needs the service
//!         apply of       │                               │
//!          `after` ──────┘        keystone's ── identity ┴─ await of what an API lists
//! everything of the machine ── retire
//! ```

use undercloud_model::{
    NodeName,
    agent::cloud::{CloudStep, ServiceName},
};

use super::{
    Images, PlanError, PlannedStep, StepKey,
    context::Contexts,
    layout::{Layout, Machine},
    network, order, service,
};
use crate::{
    definition::{Health, KEYSTONE, Service},
    reference::{misplaced, references_of},
};

type Row<'a> = (&'a ServiceName, &'a Service);

/// What all steps are made from.
struct Builder<'a> {
    layout: &'a Layout<'a>,
    contexts: &'a Contexts,
    images: &'a Images,
    steps: Vec<PlannedStep>,
}

/// Every step of every machine, in no order that means anything.
pub(super) fn all(
    layout: &Layout<'_>,
    contexts: &Contexts,
    images: &Images,
) -> Result<Vec<PlannedStep>, PlanError> {
    let mut builder = Builder { layout, contexts, images, steps: Vec::new() };
    for machine in &layout.machines {
        builder.agent(machine)?;
        builder.network(machine)?;
        builder.pulls(machine)?;
        for (name, service) in &machine.services {
            builder.apply(machine, (name, service))?;
            builder.health(machine, (name, service))?;
        }
    }
    for (name, (service, machine)) in layout.services() {
        builder.bootstraps(machine, (name, service))?;
    }
    builder.identity()?;
    for machine in &layout.machines {
        builder.retire(machine)?;
    }
    Ok(builder.steps)
}

fn agent_key(machine: &Machine<'_>) -> StepKey {
    StepKey::new(machine.name, "agent")
}

fn network_key(machine: &Machine<'_>) -> StepKey {
    StepKey::new(machine.name, "network")
}

fn images_key(machine: &Machine<'_>) -> StepKey {
    StepKey::new(machine.name, "images")
}

fn pull_key(machine: &Machine<'_>, image: &str) -> StepKey {
    StepKey::new(machine.name, format_args!("pull/{image}"))
}

fn apply_key(machine: &Machine<'_>, service: &ServiceName) -> StepKey {
    StepKey::new(machine.name, format_args!("{service}/apply"))
}

fn await_key(machine: &Machine<'_>, service: &ServiceName) -> StepKey {
    StepKey::new(machine.name, format_args!("{service}/await"))
}

fn bootstrap_key(machine: &Machine<'_>, service: &ServiceName, name: &str) -> StepKey {
    StepKey::new(machine.name, format_args!("{service}/bootstrap/{name}"))
}

impl Builder<'_> {
    fn push(
        &mut self,
        key: StepKey,
        machine: &NodeName,
        title: String,
        mut needs: Vec<StepKey>,
        step: CloudStep,
    ) -> Result<(), PlanError> {
        if let Some(text) = misplaced(&step) {
            return Err(PlanError::MisplacedSecret { step: key.to_string(), text });
        }
        references_of(&step).map_err(|error| PlanError::Reference {
            step: key.to_string(),
            text: error.into_text(),
        })?;
        needs.sort();
        needs.dedup();
        let expected_s = order::expected_s(&step, self.layout.emulated);
        let machine = machine.clone();
        self.steps.push(PlannedStep { key, machine, title, needs, expected_s, step });
        Ok(())
    }

    /// Before all else on the machine: every other step is done by the agent that this leaves there.
    fn agent(&mut self, machine: &Machine<'_>) -> Result<(), PlanError> {
        let title = "Bring the agent up to date".to_owned();
        let step = CloudStep::UpdateAgent { program: None };
        self.push(agent_key(machine), machine.name, title, Vec::new(), step)
    }

    fn network(&mut self, machine: &Machine<'_>) -> Result<(), PlanError> {
        let setup = network::setup(self.layout, machine)?;
        let title = "Set addresses, names and firewall".to_owned();
        let (step, needs) = (CloudStep::Network(setup), vec![agent_key(machine)]);
        self.push(network_key(machine), machine.name, title, needs, step)
    }

    fn pulls(&mut self, machine: &Machine<'_>) -> Result<(), PlanError> {
        let mut needs = vec![agent_key(machine)];
        let has_all = self.layout.image_store.is_some();
        if let Some(store) = &self.layout.image_store {
            let title = "Take the container images".to_owned();
            let step = CloudStep::MountImages(store.clone());
            self.push(images_key(machine), machine.name, title, needs, step)?;
            needs = vec![images_key(machine)];
        }
        for (name, service) in &machine.services {
            let image = &service.image;
            let pull = self.images.get(image).ok_or_else(|| PlanError::NoImage {
                image: image.clone(),
                service: name.to_string(),
            })?;
            let key = pull_key(machine, image);
            if self.steps.iter().all(|step| step.key != key) {
                let title = format!("Fetch the image {image}");
                let step = CloudStep::PullImage(pull.clone());
                self.push(key, machine.name, title, needs.clone(), step)?;
                // In the storage of all images it is there already.
                if let (true, Some(step)) = (has_all, self.steps.last_mut()) {
                    step.expected_s = 1;
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, machine: &Machine<'_>, (name, service): Row<'_>) -> Result<(), PlanError> {
        let mut needs = vec![network_key(machine), pull_key(machine, &service.image)];
        let after = service.after.iter().filter(|other| machine.services.contains_key(*other));
        needs.extend(after.map(|other| apply_key(machine, other)));
        for other in &service.needs {
            if self.layout.that_run(other).next().is_none() {
                return Err(PlanError::NeedsAbsent {
                    service: name.to_string(),
                    needs: other.to_string(),
                });
            }
            needs.extend(self.ready(other));
        }
        let image = self.images.get(&service.image).ok_or_else(|| PlanError::NoImage {
            image: service.image.clone(),
            service: name.to_string(),
        })?;
        let context = self.contexts.of(self.layout, machine, name, service);
        let setup = service::setup(self.layout, machine, (name, service), image, &context)?;
        let step = CloudStep::ApplyService(setup);
        self.push(apply_key(machine, name), machine.name, format!("Start {name}"), needs, step)
    }

    /// The steps after which a service is of use, wherever in the cloud it runs.
    fn ready(&self, name: &ServiceName) -> Vec<StepKey> {
        let machines: Vec<_> = self.layout.that_run(name).collect();
        let mut keys: Vec<_> = machines.iter().map(|machine| await_key(machine, name)).collect();
        if let Some(machine) = machines.first()
            && let Some(service) = machine.services.get(name)
        {
            let bootstraps = service.bootstrap.iter();
            keys.extend(bootstraps.map(|entry| bootstrap_key(machine, name, &entry.name)));
        }
        if name.as_str() == KEYSTONE {
            keys.push(self.identity_key());
        }
        keys
    }

    fn identity_key(&self) -> StepKey {
        StepKey::new(self.layout.keystone().name, "identity")
    }

    fn health(&mut self, machine: &Machine<'_>, (name, service): Row<'_>) -> Result<(), PlanError> {
        let mut needs = vec![apply_key(machine, name)];
        let mut asks = machine;
        if let Some(Health { listed: Some(row), .. }) = &service.health {
            let is_api = |service: &Service| {
                service.identity.service.as_ref().is_some_and(|entry| entry.kind == row.api)
            };
            let services = self.layout.services();
            let api = services.iter().find(|(_, (service, _))| is_api(service));
            let (api, _) = api.ok_or_else(|| PlanError::ApiAbsent {
                service: name.to_string(),
                api: row.api.clone(),
            })?;
            needs.extend(self.ready(api));
            needs.push(self.identity_key());
            asks = self.layout.keystone();
        }
        let context = self.contexts.of(self.layout, machine, name, service);
        let check = service::health(self.layout, name, service.health.as_ref(), &context)?;
        let step = CloudStep::AwaitHealth(check);
        // Where another machine's agent asks, the service's own is named.
        let title = match asks.name == machine.name {
            true => format!("Wait for {name}"),
            false => format!("Wait for {name} of {}", machine.name),
        };
        self.push(await_key(machine, name), asks.name, title, needs, step)
    }

    fn bootstraps(&mut self, machine: &Machine<'_>, row: Row<'_>) -> Result<(), PlanError> {
        let (name, service) = row;
        let mut needs = vec![await_key(machine, name)];
        for entry in &service.bootstrap {
            let context = self.contexts.of(self.layout, machine, name, service);
            let step = CloudStep::RunOnce(service::bootstrap(name, entry, &context)?);
            let title = format!("Prepare {name}: {}", entry.name);
            let key = bootstrap_key(machine, name, &entry.name);
            self.push(key.clone(), machine.name, title, needs, step)?;
            // One after the other, as they are written.
            needs = vec![key];
        }
        Ok(())
    }

    fn identity(&mut self) -> Result<(), PlanError> {
        let layout = self.layout;
        let machine = layout.keystone();
        let mut needs = Vec::new();
        for (name, service) in &machine.services {
            if name.as_str() == KEYSTONE {
                needs.push(await_key(machine, name));
                let bootstraps = service.bootstrap.iter();
                needs.extend(bootstraps.map(|entry| bootstrap_key(machine, name, &entry.name)));
            }
        }
        let step = CloudStep::EnsureIdentity(service::identity(layout, self.contexts)?);
        let title = "Make the services' users and endpoints".to_owned();
        self.push(self.identity_key(), machine.name, title, needs, step)
    }

    fn retire(&mut self, machine: &Machine<'_>) -> Result<(), PlanError> {
        let before = format!("{}/", machine.name);
        let own = self.steps.iter().filter(|step| step.key.as_str().starts_with(&before));
        let needs = own.map(|step| step.key.clone()).collect();
        let keep = machine.services.keys().map(|name| (*name).clone()).collect();
        let title = "Remove services that do not belong here".to_owned();
        let step = CloudStep::RetireServices { keep };
        self.push(StepKey::new(machine.name, "retire"), machine.name, title, needs, step)
    }
}
