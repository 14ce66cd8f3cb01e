//! Refuses system calls to this thread and to all that it becomes and starts (seccomp(2)).
//!
//! `seccompiler` compiles filters, and installs them after it set `no_new_privs`: then nobody in a
//! machine could `sudo` any more. Who has CAP_SYS_ADMIN needs that not, so the call is made here.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// What is refused: a call, or a call with one of these values as its first argument.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// Its number (`libc::SYS_…`).
    pub call: i64,
    /// Nothing: whatever its arguments are.
    pub first: &'static [u64],
}

/// Refuses calls from now on with `EPERM`. A program of another architecture than this one's is
/// ended at its first call.
///
/// # Errors
/// When the kernel does not take the filter: it has no seccomp, or this thread may not.
pub fn refuse(calls: &[Refused]) -> io::Result<()> {
    install(&compile(calls).map_err(io::Error::other)?)
}

fn compile(calls: &[Refused]) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    for refused in calls {
        let of_value = |value: &u64| {
            let (length, is) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
            SeccompRule::new(vec![SeccompCondition::new(0, length, is, *value)?])
        };
        let values = refused.first.iter().map(of_value).collect::<Result<Vec<_>, _>>()?;
        rules.insert(refused.call, values);
    }
    let errno = u32::from_ne_bytes(libc::EPERM.to_ne_bytes());
    let (else_, then) = (SeccompAction::Allow, SeccompAction::Errno(errno));
    SeccompFilter::new(rules, else_, then, std::env::consts::ARCH.try_into()?)?.try_into()
}

#[expect(unsafe_code, reason = "no crate makes this call without setting no_new_privs")]
fn install(filter: &BpfProgram) -> io::Result<()> {
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    // The kernel's `struct sock_filter` is laid out as seccompiler's, which is `repr(C)`.
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: the call reads `len` instructions from `filter`, which outlives it, and writes to
    // nothing of ours.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn what_is_refused_is_refused_and_nothing_else() {
        if fs::write("/proc/self/oom_score_adj", "-1").is_err() {
            println!("skipped: needs root");
            return;
        }
        // On a thread of its own: there is no way back.
        let on_thread = std::thread::spawn(|| {
            let (whole, in_part) = (libc::SYS_mkdirat, libc::SYS_dup);
            let refused =
                [Refused { call: whole, first: &[] }, Refused { call: in_part, first: &[77] }];
            refuse(&refused).unwrap();
            let script = "mkdir -- \"$0\" 2> /dev/null && exit 1
                grep -q '^NoNewPrivs:.*0$' /proc/self/status";
            Command::new("sh").args(["-c", script, "/tmp/never"]).status().unwrap()
        });
        assert!(on_thread.join().unwrap().success());
        assert!(!fs::exists("/tmp/never").unwrap());
    }
}
