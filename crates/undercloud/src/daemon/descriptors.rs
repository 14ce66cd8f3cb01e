//! How many files and sockets the daemon may have open. Each machine's BMC costs one or two for
//! ever, and the soft limit that a process is born with, 1024, is for programs that `select(2)`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use undercloud_api::admin::Descriptors;

/// More than any daemon needs; a child that looks at each possible descriptor takes a moment for so
/// many, and for ever where the hard limit is a container's 2^30.
const WANTED_MAX: u64 = 1 << 20;

/// Raises the soft limit to the hard one. One that cannot be raised is said and stops nothing.
pub(super) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is infinity.
    let wanted = maximum.unwrap_or(WANTED_MAX).min(WANTED_MAX);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(wanted), maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(before = current, wanted, "limit of open files raised"),
        Err(error) => tracing::warn!(%error, ?current, wanted, "limit of open files not raised"),
    }
}

/// How many are open, and how many may be.
pub(super) fn now() -> Descriptors {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Descriptors {
        // One is that of the directory which is being read.
        open: u64::try_from(open.saturating_sub(1)).unwrap_or(u64::MAX),
        max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let hard = maximum.unwrap_or(WANTED_MAX).min(WANTED_MAX);
        let low = Rlimit { current: Some(hard.min(512)), maximum };
        setrlimit(Resource::Nofile, low).unwrap();
        assert_eq!(now().max, hard.min(512));
        raise();
        assert_eq!(now().max, hard);
    }

    #[test]
    fn what_is_opened_is_counted() {
        let before = now().open;
        let files: Vec<_> =
            (0..50).map(|_| std::fs::File::open("/proc/self/status").unwrap()).collect();
        let with = now().open;
        drop(files);
        // Other tests of this process open and close, too.
        assert!(with >= before + 40 && now().open <= with - 40, "{before} {with}");
    }
}
