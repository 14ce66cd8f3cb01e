//! What can be typed. Help texts are written here, and nowhere else.

mod definitions;
mod disks;
mod domains;
mod images;
mod lab;
mod logs;
mod node_args;

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

pub(crate) use self::{
    definitions::DefinitionsCommand,
    disks::{ApproveArgs, DisksArgs, ProvideArgs},
    domains::{BmcAddArgs, BmcDomains},
    images::{ContainerCommand, ImageCommand, ImageKindArg},
    lab::{LabCommand, MachinesArg},
    logs::LogsArgs,
    node_args::{AgentCommand, DeleteArgs, PowerArgs, UndeployArgs},
};
use crate::{daemon::provisioning::AddressRange, out::Format, state};

/// Install and run a private OpenStack cloud on your own machines.
#[derive(Debug, Parser)]
#[command(name = "undercloud", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Directory that holds everything of this undercloud.
    #[arg(long, global = true, env = "UNDERCLOUD_STATE", default_value = state::DEFAULT_STATE)]
    pub(crate) state: PathBuf,
    /// Directory of what was built from packages; shared by all states of this host.
    #[arg(long, global = true, env = "UNDERCLOUD_CACHE", default_value = state::DEFAULT_CACHE)]
    pub(crate) cache: PathBuf,
    /// Directory of a site's own services, roles, container images and settings.
    #[arg(
        long,
        global = true,
        env = "UNDERCLOUD_DEFINITIONS",
        default_value = crate::definitions::DEFAULT
    )]
    pub(crate) definitions: PathBuf,
    /// How to print.
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// The commands, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Go from this host, as it is, to a running cloud with a server on it that answers.
    ///
    /// Runs every step below that is still to be done: preflight, daemon, images, containers, lab,
    /// enrolment, machines, cloud, verification. Run again, it changes nothing that is done and
    /// resumes what failed.
    Up(UpArgs),
    /// Take away everything that `up` made. Installed packages and the cache stay.
    Down {
        /// Drop the cache of built images too.
        #[arg(long)]
        purge: bool,
        /// Drop it even if other states of this host built from it.
        #[arg(long, requires = "purge")]
        force: bool,
    },
    /// Say what runs, where, since when, what failed last and what to type next.
    Status,
    /// Look whether this host has what is needed; change nothing.
    ///
    /// Checks the user, the system, Rust, the clock, memory, disk, packages, ports, the kernel's
    /// features, and whether hardware virtualisation works (by running a guest).
    Preflight {
        /// Install the packages that are missing. Their daemons are not started on this host.
        #[arg(long)]
        install: bool,
    },
    /// Run the daemon in the foreground.
    Serve(ServeArgs),
    /// Operating-system images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Container images of the cloud's services.
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Virtual machines that look like bare metal.
    #[command(subcommand)]
    Lab(LabCommand),
    /// Baseboard management controllers, of whatever machine.
    #[command(subcommand)]
    Bmc(BmcCommand),
    /// Machines, virtual or not, through their BMCs.
    #[command(subcommand)]
    Node(NodeCommand),
    /// The cloud on the machines: plan it, install it, check it.
    #[command(subcommand)]
    Cloud(CloudCommand),
    /// The files that a cloud is planned from: services, roles, container images.
    #[command(subcommand)]
    Definitions(DefinitionsCommand),
    /// List the containers of a machine, as podman there shows them.
    Containers {
        /// The machine's name.
        node: String,
    },
    /// List what happened lately, to every machine and to none of them, the newest last.
    ///
    /// Network boots of interfaces that nobody enrolled, parts of the daemon that do not work, and
    /// attempts that were refused are here, and nowhere else.
    Events(EventsArgs),
    /// List the logs and what is in each, or print one.
    ///
    /// With --follow it goes on with what is added, also behind the log's being begun anew, until
    /// Ctrl-C: `undercloud logs overcloud_install --follow`, `undercloud logs console-compute-0 -f`.
    Logs(LogsArgs),
    /// Print the completions of a shell: `undercloud completion bash > /etc/bash_completion.d/undercloud`.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command.
    #[command(hide = true)]
    Man {
        /// The directory that they are written to.
        directory: PathBuf,
    },
    /// Log in to a machine, or run a command there. For people; nothing of ours uses it.
    Ssh {
        /// The machine's name.
        node: String,
        /// The command; a login shell if none is given.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// What `events` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct EventsArgs {
    /// Begin with at most so many of the newest.
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
    /// Of this machine alone.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Of this deployment of the cloud alone: its runs and steps.
    #[arg(long, value_name = "NUMBER", conflicts_with = "node")]
    pub(crate) deployment: Option<i64>,
    /// Go on with those that come, until it is stopped.
    #[arg(long, short)]
    pub(crate) follow: bool,
}

/// What `serve` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Go to the background once it answers; its log is <state>/logs/undercloud.log.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Network-boot machines of metal from this interface of the host (DHCP, TFTP, HTTP).
    ///
    /// It has its address already; enrolled machines get addresses of that network, and nobody else
    /// is answered. A lab has a network of its own and does not need it.
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) provisioning_interface: Option<String>,
    /// The addresses that those machines get; all from the tenth on if none are given.
    #[arg(long, value_name = "FIRST-LAST", requires = "provisioning_interface")]
    pub(crate) provisioning_range: Option<AddressRange>,
}

/// What `bmc` does.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum BmcCommand {
    /// Give a libvirt domain a BMC (IPMI and Redfish), and print its password. It is not started.
    Add(BmcAddArgs),
    /// Take BMCs of domains away. The domains stay.
    Delete(BmcDomains),
    /// List the BMCs of domains.
    List,
    /// Show the BMC of a domain.
    Show {
        /// The domain: its name or its UUID.
        #[arg(allow_hyphen_values = true)]
        domain: String,
        /// Show the password too.
        #[arg(long)]
        password: bool,
    },
    /// Start BMCs of domains, now and whenever the daemon starts.
    Start(BmcDomains),
    /// Stop BMCs of domains until they are started again.
    Stop(BmcDomains),
    /// Say what a BMC can do and what is wrong with it; change nothing.
    ///
    /// Without a user it asks what the BMC answers to anybody, and whether it would open a session
    /// without a password. Ends with 1 when something critical was found.
    Probe(BmcProbeArgs),
    /// List what the sensors of a machine show now.
    Sensors(BmcReadArgs),
    /// List the events of a machine, oldest first.
    Sel(BmcReadArgs),
    /// List what a machine says of its chassis, board and product.
    Fru(BmcReadArgs),
    /// Run a fleet of machines in memory, each behind a BMC, until it is told to end (SIGTERM, SIGINT).
    Fleet(BmcFleetArgs),
}

/// What `bmc fleet` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct BmcFleetArgs {
    /// How many machines.
    #[arg(long)]
    pub(crate) count: u16,
    /// Where their BMCs listen.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) address: IpAddr,
    /// The first machine's IPMI port (UDP); the others follow.
    #[arg(long, default_value_t = 6230)]
    pub(crate) port: u16,
    /// The port (TCP) of Redfish, for all of them.
    #[arg(long, default_value_t = 8443)]
    pub(crate) redfish_port: u16,
    /// How long a machine takes for what it is asked.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) latency: u64,
    /// The file that gets addresses, users and passwords, as JSON, once all of them answer.
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: PathBuf,
}

/// What `bmc sensors`, `bmc sel` and `bmc fru` take.
#[derive(Debug, Clone, Args)]
pub(crate) struct BmcReadArgs {
    /// The BMC: an address or a name, with a port if it is not 623.
    pub(crate) address: String,
    /// Log in as this user, who need not be allowed more than to read.
    #[arg(long)]
    pub(crate) user: String,
    /// A file whose first line is the user's password.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: PathBuf,
}

/// What `bmc probe` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct BmcProbeArgs {
    /// The BMC: an address or a name, with a port if it is not 623.
    pub(crate) address: String,
    /// Log in as this user and look inside, too.
    #[arg(long, requires = "password_file")]
    pub(crate) user: Option<String>,
    /// A file whose first line is the user's password.
    #[arg(long, requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// Where to look for the certificate (TCP); 0 does not look.
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    pub(crate) https_port: u16,
    /// Try the default passwords of eight vendors. Many BMCs lock a user after a few.
    #[arg(long)]
    pub(crate) default_passwords: bool,
}

/// What `up` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    /// The machines to make; the default makes one controller and one compute machine.
    #[arg(long, value_name = "FILE")]
    pub(crate) lab: Option<PathBuf>,
    /// What machines are that do not say it there: virtual machines, or containers on this host's
    /// kernel, which start in a second and are no security boundary. `auto` takes virtual machines
    /// where the processor runs them, and containers where they would be emulated.
    #[arg(long, value_name = "KIND", value_enum, default_value_t, env = "UNDERCLOUD_MACHINES")]
    pub(crate) machines: MachinesArg,
    /// The cloud to install on them (see `cloud.toml`).
    #[arg(long, value_name = "FILE")]
    pub(crate) cloud: Option<PathBuf>,
    /// Stop waiting for the installation so many minutes after the start. The daemon goes on with
    /// it, and the same command follows it again. What comes before it has no limit.
    #[arg(long, value_name = "MINUTES", default_value_t = 90)]
    pub(crate) timeout: u64,
}

/// `undercloud node …`
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Enrol machines from a file in TripleO's format.
    Import {
        /// The file (instackenv.json).
        file: PathBuf,
    },
    /// List the nodes.
    List,
    /// Show one node.
    Show {
        /// Its name or UUID.
        node: String,
    },
    /// Check that the BMC answers and take the node under management.
    Manage(Nodes),
    /// Boot the agent and take the inventory.
    Inspect(Nodes),
    /// Show every disk of a node, what is on it and what would happen to it; touch nothing.
    Disks(DisksArgs),
    /// Agree that disks of a node are erased, as `node disks` showed them. Not wanted for the lab's.
    ///
    /// It holds for those disks with what is on them now, until it is withdrawn, or the node is
    /// taken back (`node manage`).
    Approve(ApproveArgs),
    /// Erase the metadata of the disk for the system and make the nodes available.
    Provide(ProvideArgs),
    /// Install an image.
    Deploy {
        #[command(flatten)]
        nodes: Nodes,
        /// The image.
        #[arg(long, default_value = "overcloud-full")]
        image: String,
    },
    /// Take the installation away, erase its disk's metadata and make the nodes available.
    Undeploy(UndeployArgs),
    /// Stop what is under way.
    Abort(Nodes),
    /// Change the power of a node.
    Power(PowerArgs),
    /// Set what a node starts from.
    BootDevice {
        /// From where.
        #[arg(value_enum)]
        device: BootDeviceArg,
        #[command(flatten)]
        nodes: Nodes,
        /// For all boots from now on, instead of the next one only.
        #[arg(long)]
        persistent: bool,
    },
    /// Begin or end maintenance.
    Maintenance {
        /// Its name or UUID.
        node: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
        /// End it.
        #[arg(long, conflicts_with = "reason")]
        unset: bool,
    },
    /// Look after the agent of an installed machine.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Show what happened to a node.
    History {
        /// Its name or UUID.
        node: String,
    },
    /// Forget a node that nothing is installed on.
    Delete(DeleteArgs),
}

/// `undercloud cloud …`
#[derive(Debug, Subcommand)]
pub(crate) enum CloudCommand {
    /// Show what would be installed, and where; touch nothing.
    ///
    /// Machines with all their disks, what is on each and which are erased; the services of each
    /// machine, the container images by digest, and the plan's own digest.
    Plan {
        /// The cloud; the default is one controller and one compute machine (see `cloud.toml`).
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Install the machines and the cloud on them, or look that all is as planned and mend it.
    ///
    /// Run again on a finished cloud it changes nothing; after a failure it resumes.
    Install(InstallArgs),
    /// Check the cloud as a user would: image, network, server, address; then clean up.
    Verify {
        /// Leave the server and all that it needs.
        #[arg(long)]
        keep: bool,
    },
    /// List the deployments, the newest first.
    List,
    /// Show a deployment: its steps, how long each took, and what failed.
    Show {
        /// Its number; the newest if none is given.
        number: Option<i64>,
    },
}

/// What `cloud install` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct InstallArgs {
    /// The cloud; the default is one controller and one compute machine (see `cloud.toml`).
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Agree to the disks that the plan with this digest erases; wanted for those that nobody agreed
    /// to, of machines that are not the lab's.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) approve: Option<undercloud_model::Digest>,
    /// Stop waiting after so many minutes. The daemon goes on with the installation, and the same
    /// command follows it again.
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub(crate) timeout: u64,
}

/// One or more nodes, and whether to wait.
#[derive(Debug, Clone, Args)]
pub(crate) struct Nodes {
    /// Names or UUIDs.
    #[arg(required = true)]
    pub(crate) nodes: Vec<String>,
    /// Return once it is asked for, not when it is done.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Stop waiting after so many minutes. The daemon goes on with what was asked for.
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub(crate) timeout: u64,
}

/// What `node power` can do.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum PowerArg {
    /// Switch on.
    On,
    /// Switch off at once.
    Off,
    /// Ask the operating system to shut down.
    Soft,
    /// Off, then on.
    Cycle,
    /// Reset without switching off.
    Reset,
}

/// What `node boot-device` can set.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum BootDeviceArg {
    /// The network.
    Pxe,
    /// The disk.
    Disk,
    /// The CD-ROM.
    Cdrom,
    /// The USB stick.
    Usb,
}

#[cfg(test)]
mod tests;
