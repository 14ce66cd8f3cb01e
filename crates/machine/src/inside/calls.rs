//! System calls that root inside is refused although it has the capability, since that is needed for
//! other things: CAP_SYS_BOOT switches the machine off, CAP_SYS_ADMIN mounts.

use undercloud_seccomp::Refused;

use crate::MachineError;

/// Commands of bpf(2) by which a program comes to run outside of control groups: opening a
/// tracepoint, and links of any kind. podman's and systemd's lists of devices need neither.
/// (Linux, `include/uapi/linux/bpf.h`, `enum bpf_cmd`)
const RUNS_ELSEWHERE: &[u64] = &[17, 28];

/// A new kernel, modules, swap, the clock, ports of hardware, and looks into the running kernel.
/// Numbers are x86-64's (`arch/x86/entry/syscalls/syscall_64.tbl`).
const REFUSED: &[Refused] = &[
    Refused { call: 164, first: &[] },            // settimeofday
    Refused { call: 167, first: &[] },            // swapon
    Refused { call: 168, first: &[] },            // swapoff
    Refused { call: 172, first: &[] },            // iopl
    Refused { call: 173, first: &[] },            // ioperm
    Refused { call: 175, first: &[] },            // init_module
    Refused { call: 176, first: &[] },            // delete_module
    Refused { call: 227, first: &[] },            // clock_settime
    Refused { call: 246, first: &[] },            // kexec_load
    Refused { call: 298, first: &[] },            // perf_event_open
    Refused { call: 313, first: &[] },            // finit_module
    Refused { call: 320, first: &[] },            // kexec_file_load
    Refused { call: 321, first: RUNS_ELSEWHERE }, // bpf
];

/// Refuses them for good.
pub(super) fn refuse() -> Result<(), MachineError> {
    undercloud_seccomp::refuse(REFUSED).map_err(MachineError::io("refuse system calls"))
}
