//! Network boot as a machine with iPXE in its card does it: DHCP, the script, kernel and initial
//! ramdisk over HTTP. Works in the network namespace of the calling thread.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, memfd_create};
use socket2::{Domain, Protocol, Socket, Type};
use undercloud_netboot::{Answer, Query};

use crate::{
    Firmware, MachineError, Settings,
    error::command,
    network::card_name,
    script::{self, Script},
};

/// How long each try waits for an answer, as iPXE does.
const TRIES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// A fetch that fails is tried again this often, at this distance (netboot's `script`).
const FETCHES_MAX: u32 = 40;
const FETCH_AGAIN: Duration = Duration::from_secs(3);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// The largest initial ramdisk that is fetched.
const RAMDISK_BYTES_MAX: u64 = 1 << 30;

/// What was fetched.
#[derive(Debug)]
pub(crate) struct NetworkBoot {
    /// The initial ramdisk, in memory: it holds a secret.
    pub(crate) initrd: File,
    /// The kernel's arguments.
    pub(crate) cmdline: String,
}

/// Boots from the first card; nothing when there is nothing to boot from the network. `over` says
/// when nobody wants it any more.
pub(crate) fn boot(
    settings: &Settings,
    say: &dyn Fn(&str),
    over: &dyn Fn() -> bool,
) -> Result<Option<NetworkBoot>, MachineError> {
    let Some(answer) = configure(settings, say, over)? else { return Ok(None) };
    let result = fetch_all(&answer, say, over);
    // What starts next finds the card as it was.
    command("ip", &["address", "flush", "dev", &card_name(0)], "")?;
    result
}

/// DHCP, up to an address on the card.
fn configure(
    settings: &Settings,
    say: &dyn Fn(&str),
    over: &dyn Fn() -> bool,
) -> Result<Option<Answer>, MachineError> {
    let Some(card) = settings.cards.first() else { return Ok(None) };
    let mut xid = [0u8; 4];
    rustix::rand::getrandom(&mut xid, rustix::rand::GetRandomFlags::empty())
        .map_err(MachineError::io("get a random number"))?;
    let architecture = match settings.firmware {
        Firmware::Bios => 0,
        Firmware::Uefi => 7,
    };
    let guid = *settings.system_guid.as_bytes();
    let query = Query::new(card.mac, guid, architecture, u32::from_be_bytes(xid));
    let socket = dhcp_socket().map_err(MachineError::io("open a socket for DHCP"))?;
    say(&format!("network boot: {} asks for an address", card.mac));
    let Some(offer) = ask(&socket, &query.discover(), over, |a| query.read(a), |a| !a.given)?
    else {
        say("network boot: no DHCP server answers");
        return Ok(None);
    };
    if offer.boot_file.is_none() {
        say("network boot: the DHCP server has nothing to boot for this machine");
        return Ok(None);
    }
    let request = query.request(&offer);
    let Some(given) = ask(&socket, &request, over, |a| query.read(a), |a| a.given)? else {
        say("network boot: the address that was offered was not given");
        return Ok(None);
    };
    let (address, prefix) = given.address;
    say(&format!("network boot: {address}/{prefix} from {}", given.server));
    let text = format!("{address}/{prefix}");
    command("ip", &["address", "replace", &text, "dev", &card_name(0)], "")?;
    Ok(Some(given))
}

fn dhcp_socket() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(card_name(0).as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into())?;
    Ok(socket.into())
}

/// Sends until an answer comes that is wanted.
fn ask(
    socket: &UdpSocket,
    datagram: &[u8],
    over: &dyn Fn() -> bool,
    read: impl Fn(&[u8]) -> Option<Answer>,
    wanted: impl Fn(&Answer) -> bool,
) -> Result<Option<Answer>, MachineError> {
    let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    let mut buffer = [0u8; 2048];
    for patience in TRIES {
        socket.send_to(datagram, to).map_err(MachineError::io("send a DHCP request"))?;
        let end = Instant::now() + patience;
        loop {
            if over() {
                return Ok(None);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket
                .set_read_timeout(Some(left.min(LOOK_EVERY)))
                .map_err(MachineError::io("wait for DHCP"))?;
            let Ok((count, _)) = socket.recv_from(&mut buffer) else { continue };
            if let Some(answer) = read(&buffer[..count]).filter(&wanted) {
                return Ok(Some(answer));
            }
        }
    }
    Ok(None)
}

/// How soon it is noticed that nobody wants it any more.
const LOOK_EVERY: Duration = Duration::from_millis(200);

fn fetch_all(
    answer: &Answer,
    say: &dyn Fn(&str),
    over: &dyn Fn() -> bool,
) -> Result<Option<NetworkBoot>, MachineError> {
    let Some(url) = answer.boot_file.as_deref() else { return Ok(None) };
    for _ in 0..FETCHES_MAX {
        match fetch_once(url, say, over) {
            Ok(found) => return Ok(found),
            Err(error) => say(&format!("network boot: {}; trying again", error.chain())),
        }
        let end = Instant::now() + FETCH_AGAIN;
        while Instant::now() < end {
            if over() {
                return Ok(None);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
    say("network boot: given up");
    Ok(None)
}

fn fetch_once(
    url: &str,
    say: &dyn Fn(&str),
    over: &dyn Fn() -> bool,
) -> Result<Option<NetworkBoot>, MachineError> {
    let mut text = Vec::new();
    get(url, script::BYTES_MAX, &mut text, over)?;
    let Some(script) = script::read(&String::from_utf8_lossy(&text)) else {
        let text = format!("{url} is no boot script that starts something");
        return Err(MachineError::Ramdisk(text));
    };
    let Script::Start { kernel, initrd, cmdline } = script else {
        say("network boot: nothing to boot from the network, starting from the disk");
        return Ok(None);
    };
    say("network boot: fetching the kernel and the ramdisk");
    get(&kernel, RAMDISK_BYTES_MAX, &mut io::sink(), over)?;
    let memory = memfd_create("initrd", MemfdFlags::CLOEXEC)
        .map_err(MachineError::io("get memory for the ramdisk"))?;
    let mut file = File::from(memory);
    let bytes = get(&initrd, RAMDISK_BYTES_MAX, &mut file, over)?;
    say(&format!("network boot: ramdisk of {} MB", bytes / 1_000_000));
    Ok(Some(NetworkBoot { initrd: file, cmdline }))
}

/// Fetches one file, to its end.
fn get(
    url: &str,
    bytes_max: u64,
    into: &mut dyn io::Write,
    over: &dyn Fn() -> bool,
) -> Result<u64, MachineError> {
    let failed = || format!("fetch {url}");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_DEADLINE))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .build()
        .into();
    let mut response =
        agent.get(url).call().map_err(|error| MachineError::io(failed())(error.into_io()))?;
    let length: Option<u64> = response
        .headers()
        .get("content-length")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = response.body_mut().with_config().limit(bytes_max).reader();
    let mut buffer = vec![0u8; 256 << 10];
    let mut total = 0u64;
    loop {
        if over() {
            let text = "the machine was switched off";
            return Err(MachineError::io(failed())(io::Error::other(text)));
        }
        let count = body.read(&mut buffer).map_err(MachineError::io(failed()))?;
        if count == 0 {
            break;
        }
        into.write_all(&buffer[..count]).map_err(MachineError::io("keep what was fetched"))?;
        total += count as u64;
    }
    match length {
        Some(length) if length != total => {
            let text = format!("{total} of {length} bytes came");
            Err(MachineError::io(failed())(io::Error::other(text)))
        }
        _ => Ok(total),
    }
}
