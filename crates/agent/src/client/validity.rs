//! A certificate that is not valid now: nobody renews or breaks one by accident in between, but
//! hardware clocks are wrong every day.

use std::time::Duration;

use rustls::{CertificateError, Error, pki_types::UnixTime};

/// What is wrong with the clocks, where that is why the daemon's certificate was refused.
pub(super) fn clock_is_wrong(error: &Error) -> Option<String> {
    let Error::InvalidCertificate(why) = error else { return None };
    let why = match why {
        CertificateError::NotValidYetContext { time, not_before } => {
            let early = between(*time, *not_before);
            format!(
                "begins {early} after this machine's time: its clock is behind, or the daemon's was ahead"
            )
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let late = between(*not_after, *time);
            format!(
                "ended {late} before this machine's time: its clock is ahead, or the daemon's was behind"
            )
        }
        CertificateError::NotValidYet => "is not valid yet by this machine's clock".to_owned(),
        CertificateError::Expired => "is not valid any more by this machine's clock".to_owned(),
        _ => return None,
    };
    Some(format!("the daemon's certificate {why}"))
}

/// In the unit that tells most.
fn between(earlier: UnixTime, later: UnixTime) -> String {
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    let hours = Duration::from_secs(seconds).as_secs() / 3600;
    match (hours / 24, hours) {
        (0, 0) => format!("{seconds} s"),
        (0 | 1, hours) => format!("{hours} h"),
        (days, _) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn a_clock_that_is_off_is_named_with_by_how_much() {
        let early = |by: u64| {
            let (time, not_before) = (at(1_300_000_000), at(1_300_000_000 + by));
            let error = CertificateError::NotValidYetContext { time, not_before };
            clock_is_wrong(&Error::InvalidCertificate(error)).unwrap()
        };
        let text = early(500_000_000);
        assert!(text.contains("begins 5787 days after this machine's time: its clock"), "{text}");
        assert!(early(7200).contains("begins 2 h after"), "{}", early(7200));
        assert!(early(59).contains("begins 59 s after"), "{}", early(59));
        let error = CertificateError::ExpiredContext { time: at(9_000), not_after: at(100) };
        let text = clock_is_wrong(&Error::InvalidCertificate(error)).unwrap();
        assert!(text.contains("ended 2 h before this machine's time"), "{text}");
        let other = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(clock_is_wrong(&other), None);
    }
}
