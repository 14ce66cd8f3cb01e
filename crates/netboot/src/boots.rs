//! The one seam of this crate: who may have an address, and what it boots. Everything here asks it
//! and tells it what happened; nothing here knows nodes, states or a database.

use std::{fmt, net::Ipv4Addr, sync::Arc};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use ipnet::Ipv4Net;
use undercloud_model::{MacAddr, Secret};

use crate::dhcp::Client;

/// Answers for the machines that are enrolled. Every call has a deadline of
/// [`ANSWER_DEADLINE`](crate::ANSWER_DEADLINE); no answer is like `None`.
#[async_trait]
pub trait Boots: Send + Sync {
    /// The address of this machine's interface; `None` when nobody enrolled it.
    async fn lease(&self, mac: MacAddr) -> Option<Lease>;

    /// What this machine boots from the network now; `None` when it shall start from its disk.
    ///
    /// Called several times in one boot (DHCP, script, kernel, initrd), so it must be cheap, and
    /// must give the same token and the same identity until the next boot begins.
    async fn boot(&self, mac: MacAddr) -> Option<BootTarget>;

    /// The CD that this machine's BMC shows it for the present boot; `None` outside of one.
    ///
    /// May be called many times for one boot, and must give the same bytes each time.
    async fn media(&self, mac: MacAddr) -> Option<MediaTarget> {
        let _ = mac;
        None
    }

    /// Something happened. Called in order, one at a time.
    async fn event(&self, event: BootEvent);
}

/// An address and what belongs to it. It is fixed: the same machine always gets the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Address and prefix.
    pub address: Ipv4Net,
    /// Router, where there is one.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, the first eight of which are sent.
    pub dns: Vec<Ipv4Addr>,
    /// For how long.
    pub lease_seconds: u32,
    /// Host name, where it has one.
    pub hostname: Option<String>,
}

/// A file of known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSource {
    /// Where it is.
    pub path: Utf8PathBuf,
    /// How many bytes are sent; a shorter file breaks the transfer off.
    pub size: u64,
}

/// A part of the initrd. Parts are sent one after the other, each padded with zeros to a multiple
/// of four bytes, as the kernel wants it (Linux, `buffer-format.rst`).
#[derive(Clone)]
pub enum Segment {
    /// In memory; holds secrets, so it is not printed.
    Bytes(Arc<[u8]>),
    /// On disk.
    File(BlobSource),
}

impl Segment {
    /// Its length without padding.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.size,
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

/// What a machine boots.
#[derive(Debug, Clone)]
pub struct BootTarget {
    /// The kernel.
    pub kernel: BlobSource,
    /// The initrd's parts, the machine's identity first.
    pub initrd: Vec<Segment>,
    /// The kernel's arguments, one each, without white space. No secrets: consoles log them.
    pub cmdline: Vec<String>,
    /// Part of the URLs of this boot.
    pub token: BootToken,
}

/// A CD made of one that is the same for all, with bytes of this boot in the middle.
#[derive(Clone)]
pub struct MediaTarget {
    /// The CD as it was built.
    pub template: BlobSource,
    /// Where the bytes go.
    pub offset: u64,
    /// The bytes. They hold a secret, so they are not printed.
    pub identity: Arc<[u8]>,
    /// Part of the URL of this boot.
    pub token: BootToken,
}

impl fmt::Debug for MediaTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { template, offset, identity, token } = self;
        f.debug_struct("MediaTarget")
            .field("template", template)
            .field("offset", offset)
            .field("identity", &format_args!("{} bytes", identity.len()))
            .field("token", token)
            .finish()
    }
}

/// An unguessable part of the URLs of one boot. It is no secret of the boot: it only keeps others
/// from fetching what a script names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootToken(Secret);

/// The text cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a boot token is 16 to 64 letters and digits")]
pub struct BootTokenError;

impl BootToken {
    /// Takes a token that was kept.
    ///
    /// # Errors
    /// It is not 16 to 64 ASCII letters and digits.
    pub fn new(text: &str) -> Result<Self, BootTokenError> {
        let legal = text.bytes().all(|c| c.is_ascii_alphanumeric());
        if legal && (16..=64).contains(&text.len()) {
            Ok(Self(Secret::new(text)))
        } else {
            Err(BootTokenError)
        }
    }

    /// 128 bits from the kernel's generator.
    ///
    /// # Errors
    /// The kernel gives none.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(Secret::new(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())))
    }

    /// The text, to keep it or to put it in a URL.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether `text`, which a client sent, is this token; takes the same time for each text of the
    /// right length.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.0 == Secret::new(text)
    }
}

/// One exchange with a machine, for its timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEvent {
    /// The machine's interface, where it is known.
    pub mac: Option<MacAddr>,
    /// What happened.
    pub kind: BootEventKind,
    /// How often, since it was told last.
    pub times: u32,
}

impl fmt::Display for BootEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            1 => self.kind.fmt(f),
            times => write!(f, "{} ({times} times)", self.kind),
        }
    }
}

/// What happened. `Display` is the text for the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootEventKind {
    /// It asked for an address.
    DhcpDiscover {
        /// What asked.
        client: Client,
    },
    /// It was offered one.
    DhcpOffer {
        /// The address.
        address: Ipv4Addr,
        /// The boot file or URL that went with it.
        boot: Option<String>,
    },
    /// It was given one.
    DhcpAck {
        /// The address.
        address: Ipv4Addr,
        /// The boot file or URL that went with it.
        boot: Option<String>,
    },
    /// It wanted an address that is not its own.
    DhcpNak {
        /// That address.
        requested: Ipv4Addr,
    },
    /// It gave its address back.
    DhcpRelease,
    /// It says that somebody else uses its address.
    DhcpDecline {
        /// That address.
        address: Ipv4Addr,
    },
    /// It asked for options only.
    DhcpInform,
    /// A request that nothing can be made of.
    DhcpUnreadable {
        /// Why not.
        why: String,
    },
    /// A relay forwarded a request of another network.
    DhcpRelayed {
        /// The relay.
        relay: Ipv4Addr,
    },
    /// So much happened that the rest is only counted.
    TooMuch,
    /// Firmware that we have no boot file for asked for one.
    UnsupportedFirmware {
        /// Its architecture (RFC 4578, section 2.1).
        architecture: u16,
    },
    /// An interface that nobody enrolled asked for an address. At most one a minute for each.
    UnknownMac,
    /// Another DHCP server answers on this network. At most one in ten minutes for each.
    ForeignDhcpServer {
        /// What it calls itself.
        address: Ipv4Addr,
    },
    /// A TFTP transfer began.
    TftpStart {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// A TFTP transfer ended well.
    TftpDone {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// A TFTP transfer failed or was refused.
    TftpFailed {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// An EFI program went out over HTTP.
    EfiServed {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// It got its boot script.
    ScriptServed,
    /// It asked for a script, and was told to start from its disk.
    NothingToBoot,
    /// It got the kernel.
    KernelServed {
        /// Its size.
        bytes: u64,
    },
    /// It got the initrd, identity included.
    InitrdServed {
        /// Its size.
        bytes: u64,
    },
    /// Its BMC got the deploy CD, or a part of it.
    MediaServed {
        /// How many bytes.
        bytes: u64,
        /// How many the CD has.
        of: u64,
    },
    /// An HTTP transfer ended early.
    TransferCut {
        /// What was sent.
        what: &'static str,
        /// How much of it went out.
        bytes: u64,
        /// How much it was.
        of: u64,
    },
    /// An HTTP request was not answered.
    HttpRefused {
        /// Who asked.
        from: Ipv4Addr,
        /// Why.
        why: &'static str,
    },
}

impl BootEventKind {
    /// What makes two refusals the same, beside who was refused.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::HttpRefused { why, .. } => why,
            Self::TftpFailed { .. } => "TFTP",
            Self::DhcpUnreadable { .. } => "not readable",
            Self::DhcpRelayed { .. } => "relayed",
            Self::UnknownMac => "unknown",
            _ => "",
        }
    }
}

impl fmt::Display for BootEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let booting = |boot: &Option<String>| match boot {
            Some(file) => format!(" to boot {file}"),
            None => " and nothing to boot".to_owned(),
        };
        match self {
            Self::DhcpDiscover { client } => write!(f, "DHCP: {client} asks for an address"),
            Self::DhcpOffer { address, boot } => {
                write!(f, "DHCP: offered {address}{}", booting(boot))
            }
            Self::DhcpAck { address, boot } => write!(f, "DHCP: gave {address}{}", booting(boot)),
            Self::DhcpNak { requested } => write!(f, "DHCP: refused it {requested}"),
            Self::DhcpRelease => f.write_str("DHCP: gave its address back"),
            Self::DhcpDecline { address } => {
                write!(f, "DHCP: says that somebody else uses {address}")
            }
            Self::DhcpInform => f.write_str("DHCP: asked for options"),
            Self::DhcpUnreadable { why } => {
                write!(f, "DHCP: a request was not answered, for it cannot be read: {why}")
            }
            Self::DhcpRelayed { relay } => write!(
                f,
                "DHCP: a request through the relay {relay} was not answered: machines boot from \
                 this very network alone"
            ),
            Self::TooMuch => f.write_str("network boot: more happened than is told one by one"),
            Self::UnsupportedFirmware { architecture } => {
                write!(f, "DHCP: no boot file for firmware of architecture {architecture}")
            }
            Self::UnknownMac => f.write_str("DHCP: nobody enrolled this interface"),
            Self::ForeignDhcpServer { address } => {
                write!(f, "DHCP: another server, {address}, answers on this network")
            }
            Self::TftpStart { file, bytes } => write!(f, "TFTP: sending {file}, {bytes} bytes"),
            Self::TftpDone { file, bytes } => write!(f, "TFTP: sent {file}, {bytes} bytes"),
            Self::TftpFailed { file, why } => write!(f, "TFTP: {file} failed: {why}"),
            Self::EfiServed { file, bytes } => write!(f, "HTTP: sent {file}, {bytes} bytes"),
            Self::ScriptServed => f.write_str("HTTP: sent the boot script"),
            Self::NothingToBoot => f.write_str("HTTP: told it to start from its disk"),
            Self::KernelServed { bytes } => write!(f, "HTTP: sent the kernel, {bytes} bytes"),
            Self::InitrdServed { bytes } => write!(f, "HTTP: sent the initrd, {bytes} bytes"),
            Self::MediaServed { bytes, of } => {
                write!(f, "HTTP: sent its BMC the deploy CD, {bytes} of {of} bytes")
            }
            Self::TransferCut { what, bytes, of } => {
                write!(f, "HTTP: {what} broke off after {bytes} of {of} bytes")
            }
            Self::HttpRefused { from, why } => write!(f, "HTTP: refused {from}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_letters_and_digits_and_do_not_print() {
        for bad in ["", "short", "0123456789abcde/", "0123456789abcdef\n", &"a".repeat(65)] {
            assert_eq!(BootToken::new(bad), Err(BootTokenError), "{bad}");
        }
        let token = BootToken::random().unwrap();
        assert_eq!(BootToken::new(token.expose()), Ok(token.clone()));
        assert!(token.is(token.expose()) && !token.is("") && !token.is(&"0".repeat(32)));
        assert!(!format!("{token:?}").contains(token.expose()));
        assert_ne!(token, BootToken::random().unwrap());
    }
}
