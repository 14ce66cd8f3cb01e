//! `undercloud preflight`.

use anyhow::Result;

use super::Context;
use crate::preflight::{self, Needs};

pub(super) fn run(context: &Context, install: bool) -> Result<()> {
    if install {
        preflight::ensure_packages()?;
    }
    let needs = Needs { memory_bytes: 8 << 30, disk_bytes: 12 << 30 };
    let found = preflight::run(&context.state, &context.common.cache, needs, false);
    preflight::report(&context.out, &found)
}
