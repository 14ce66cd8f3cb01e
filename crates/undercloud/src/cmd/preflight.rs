//! `undercloud preflight`.

use anyhow::Result;

use super::{Context, lab};
use crate::{
    daemon::lock,
    preflight::{self, Needs},
};

pub(super) fn run(context: &Context, install: bool) -> Result<()> {
    if install {
        preflight::ensure_packages()?;
    }
    let needs = Needs::of(lab::DEFAULT_LAB)?;
    let daemon_runs = lock::holder(&context.state).is_some();
    let found = preflight::run(&context.state, &context.common.cache, &needs, daemon_runs);
    preflight::report(&context.out, &found)
}
