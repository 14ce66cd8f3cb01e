//! Where this host has its time from, and how good that is: what its own NTP client says. The time
//! that machines are told is as good and one step further from a reference clock.

use std::{
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{process::Command, time::timeout};
use undercloud_netboot::{HostClock, HostTime};

use super::tasks::Group;
use crate::clock;

/// NTP clients ask about as often.
const EVERY: Duration = Duration::from_secs(64);
/// For a program to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// No stratum: NTP's own word for it is "unspecified".
const NONE: u8 = 0;
/// 16 is "not synchronised" (RFC 5905, figure 11).
const STRATUM_MAX: u8 = 15;

/// The stratum of this host's clock.
#[derive(Debug, Default)]
pub(crate) struct TimeSource(AtomicU8);

impl TimeSource {
    /// This host's clock, with its stratum of now.
    pub(super) fn clock(self: &Arc<Self>) -> HostClock {
        let source = self.clone();
        HostClock::new(move || HostTime {
            since_epoch: clock::time_of_day(),
            stratum: source.stratum(),
        })
    }

    fn stratum(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed)).filter(|stratum| *stratum != NONE)
    }

    async fn look(&self) -> String {
        let stratum = match of_chrony().await {
            Some(stratum) => Some(stratum),
            None => of_timesyncd().await,
        };
        self.0.store(stratum.unwrap_or(NONE), Ordering::Relaxed);
        match stratum {
            Some(stratum) => format!("this host's clock follows a server, at stratum {stratum}"),
            None => "this host's clock follows no server".to_owned(),
        }
    }
}

/// Begins to look.
pub(super) fn begin(group: &mut Group, source: &Arc<TimeSource>) {
    let source = source.clone();
    group.periodic("this host's time source", EVERY, move || {
        let source = source.clone();
        async move { Result::Ok(source.look().await) }
    });
}

async fn of_chrony() -> Option<u8> {
    tracking(&said("chronyc", &["-c", "-n", "tracking"]).await?)
}

async fn of_timesyncd() -> Option<u8> {
    let synchronized = said("timedatectl", &["show", "--property=NTPSynchronized"]).await?;
    if synchronized.trim() != "NTPSynchronized=yes" {
        return None;
    }
    message(&said("timedatectl", &["show-timesync", "--property=NTPMessage"]).await?)
}

/// What a program prints that ends well; one that is not there says nothing.
async fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stdout, .. } = timeout(DEADLINE, command.output()).await.ok()?.ok()?;
    status.success().then(|| String::from_utf8_lossy(&stdout).into_owned())
}

/// The stratum in `chronyc -c tracking`: the third of its fields, and the last says whether there is
/// any (chronyc(1), "tracking").
fn tracking(text: &str) -> Option<u8> {
    let fields: Vec<&str> = text.trim().split(',').collect();
    let leap = fields.last()?;
    valid(fields.get(2)?).filter(|_| *leap != "Not synchronised")
}

/// The stratum in the last answer that timesyncd had: `NTPMessage={ Leap=0, …, Stratum=2, … }`.
fn message(text: &str) -> Option<u8> {
    valid(text.split([',', '{', '}']).find_map(|part| part.trim().strip_prefix("Stratum="))?)
}

fn valid(stratum: &str) -> Option<u8> {
    stratum.parse().ok().filter(|stratum| (1..=STRATUM_MAX).contains(stratum))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_clients_say_is_read() {
        let line = "C0A80001,192.168.0.1,3,1732893600.123456789,0.000012345,0.000001,0.00002,\
                    -12.345,0.001,0.02,0.01,0.0005,64.5,";
        assert_eq!(tracking(&format!("{line}Normal\n")), Some(3));
        assert_eq!(tracking(&format!("{line}Not synchronised\n")), None);
        assert_eq!(tracking("00000000,,0,0.0,0,0,0,0,0,0,1,1,0.0,Not synchronised\n"), None);
        assert_eq!(tracking("506 Cannot talk to daemon\n"), None);
        let text = "NTPMessage={ Leap=0, Version=4, Mode=4, Stratum=2, Precision=-25, \
                    RootDelay=1.2ms, Reference=GPS, Ignored=no, PacketCount=9, Jitter=0 }\n";
        assert_eq!(message(text), Some(2));
        assert_eq!(message(&text.replace("Stratum=2", "Stratum=16")), None);
        assert_eq!(message("NTPMessage=\n"), None);
    }

    #[tokio::test]
    async fn a_host_that_says_nothing_has_no_stratum() {
        assert_eq!(said("/nonexistent/chronyc", &[]).await, None);
        let source = Arc::new(TimeSource::default());
        assert_eq!(source.clock().now().stratum, None);
        source.0.store(3, Ordering::Relaxed);
        assert_eq!(source.clock().now().stratum, Some(3));
        assert!(source.clock().now().since_epoch > Duration::from_secs(1_700_000_000));
    }

    proptest! {
        #[test]
        fn no_words_are_too_odd(text: String) {
            for stratum in [tracking(&text), message(&text)].into_iter().flatten() {
                prop_assert!((1..=STRATUM_MAX).contains(&stratum));
            }
        }
    }
}
