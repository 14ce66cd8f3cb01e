//! Many machines in memory, each behind a controller on a port of its own: for tests, benchmarks
//! and rehearsal. Nothing of them exists outside of this process.

pub mod machine;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;

use self::machine::FleetMachine;
use crate::{
    credentials::{Credentials, CredentialsError, generated_password},
    ipmi::{
        random::Random,
        server::{Server, ServerError, ServerHandle},
    },
    memory::Memory,
};

/// The user of every machine.
const USER: &str = "admin";

/// What a fleet is to be.
#[derive(Debug, Clone, Copy)]
pub struct FleetOptions {
    /// How many machines.
    pub count: u16,
    /// Where they listen.
    pub address: IpAddr,
    /// Port of the first; the others follow. Zero gives each any free port.
    pub port: u16,
    /// How long a machine takes for what it is asked.
    pub latency: Duration,
}

/// Why a fleet does not start.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The last machine would have a port above 65535.
    #[error("{count} machines from port {port} need ports above 65535")]
    Ports {
        /// How many machines.
        count: u16,
        /// The first one's port.
        port: u16,
    },
    /// A port cannot be had.
    #[error("machine {index} cannot listen on {address}")]
    Bind {
        /// Which machine.
        index: u16,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A controller does not start.
    #[error("the controller of machine {index} does not start")]
    Server {
        /// Which machine.
        index: u16,
        /// Why.
        #[source]
        source: ServerError,
    },
    /// The system gives no random bytes.
    #[error("no random bytes for passwords")]
    Random(#[source] getrandom::Error),
    /// A password that was made cannot be used.
    #[error("a password that was made cannot be used")]
    Password(#[source] CredentialsError),
}

/// One machine of a fleet, and its running controller.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub id: String,
    /// The machine.
    pub machine: Arc<FleetMachine>,
    /// Who may log in to it, and what its controller keeps for as long as the process runs.
    pub memory: Memory,
    /// Where its controller listens.
    pub address: SocketAddr,
    /// The user.
    pub user: &'static str,
    /// The password: 128 random bits in twenty characters.
    pub password: zeroize::Zeroizing<String>,
    server: ServerHandle,
}

/// A running fleet; dropping it ends every controller.
#[derive(Debug)]
pub struct Fleet {
    /// The machines, in the order of their ports.
    pub members: Vec<Member>,
}

impl Fleet {
    /// Starts every machine's controller. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`FleetError`]; nothing runs then.
    pub fn start(options: FleetOptions) -> Result<Self, FleetError> {
        let FleetOptions { count, port, .. } = options;
        if port != 0 && count > 0 && port.checked_add(count - 1).is_none() {
            return Err(FleetError::Ports { count, port });
        }
        let mut random = Random::from_system().map_err(FleetError::Random)?;
        let members = (0..count).map(|index| member(options, index, &mut random));
        Ok(Self { members: members.collect::<Result<_, _>>()? })
    }

    /// Ends every controller, and waits for it.
    pub async fn stop(self) {
        for member in self.members {
            member.server.shutdown().await;
        }
    }
}

fn member(options: FleetOptions, index: u16, random: &mut Random) -> Result<Member, FleetError> {
    let port = if options.port == 0 { 0 } else { options.port + index };
    let address = SocketAddr::new(options.address, port);
    let bind = |source| FleetError::Bind { index, address, source };
    let socket = UdpSocket::bind(address).map_err(bind)?;
    let address = socket.local_addr().map_err(bind)?;
    let id = format!("fleet-{index:05}");
    let password = generated_password().map_err(FleetError::Random)?;
    let credentials = Credentials::new(USER, &password).map_err(FleetError::Password)?;
    let memory = Memory::new(credentials);
    let machine = Arc::new(FleetMachine::new(index, random.block(), options.latency));
    let server = Server::start_kept(socket, memory.clone(), machine.clone())
        .map_err(|source| FleetError::Server { index, source })?;
    Ok(Member { id, machine, memory, address, user: USER, password, server })
}
