//! `undercloud lab …`, and what machines are made of.

use std::path::PathBuf;

use clap::Subcommand;
use undercloud_model::NodeName;

/// `--machines`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MachinesArg {
    /// What this host is best at.
    #[default]
    Auto,
    /// Virtual machines.
    Qemu,
    /// Containers.
    Container,
}

/// `undercloud lab …`
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Make the networks and machines, switched off, each behind its BMC; write instackenv.json.
    Create {
        /// The machines to make (see `lab.toml` in the source tree for every key).
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// What machines are that do not say it there. A container starts in a second and runs on
        /// this host's kernel: no firmware, and no security boundary.
        #[arg(long, value_name = "KIND", value_enum, default_value_t, env = "UNDERCLOUD_MACHINES")]
        machines: MachinesArg,
    },
    /// Keep the whole lab as it is, cloud included, under a name: machines are shut down, copied with the
    /// daemon's own records, and started again.
    Snapshot {
        /// Its name: letters, digits, `-`, `_` and `.`.
        name: String,
    },
    /// Bring the lab back to a snapshot. What happened since is lost.
    Restore {
        /// Its name.
        name: String,
    },
    /// Bring a snapshot to life in a state of its own, beside this lab, which stays as it is: the same
    /// machines, cloud included, with networks, ports and processes of their own.
    Clone {
        /// The snapshot's name.
        name: String,
        /// The new state directory: what --state is for the clone.
        directory: PathBuf,
    },
    /// List the snapshots.
    Snapshots,
    /// Remove a snapshot.
    Forget {
        /// Its name.
        name: String,
    },
    /// List the machines.
    List,
    /// Press a machine's power button: on.
    Start {
        /// The machine.
        machine: String,
    },
    /// Press a machine's power button: off, at once.
    Stop {
        /// The machine.
        machine: String,
    },
    /// Add machines of a kind that the lab has, while the others run, and enrol them.
    Grow {
        /// What their names begin with: `compute` for compute-0, compute-1 and on. A new one is like
        /// the first.
        group: String,
        /// How many there are to be, as `count` in lab.toml; one more than now without it.
        #[arg(long, value_name = "N")]
        count: Option<usize>,
    },
    /// Take machines away while the others run: their disks, links and BMCs, and their nodes.
    Shrink {
        /// The machines.
        #[arg(required = true, value_name = "MACHINE")]
        machines: Vec<NodeName>,
        /// Also machines of an installed cloud, which loses them.
        #[arg(long)]
        force: bool,
    },
    /// Remove the machines, their disks and their networks.
    Delete,
    /// Open a machine's serial console. Ctrl-] leaves it.
    Console {
        /// The machine.
        machine: String,
    },
}
