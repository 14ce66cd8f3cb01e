//! How fast this host is, and what that means in minutes: figures in a README are of another one.

use std::{
    collections::BTreeMap,
    num::NonZero,
    thread,
    time::{Duration, Instant},
};

use super::Finding;
use crate::out;

/// How long each processor is looked at.
const LOOK: Duration = Duration::from_millis(60);
/// Rounds of the work in a second on one processor of the host that the figures below are of
/// (docs/guide.md, "How fast is this host?").
const REFERENCE_PER_S: f64 = 4_700.0;
/// A lab of one controller and one compute machine, from nothing to verified, images built: seconds
/// that nothing makes shorter but a faster processor, and seconds of processors' time, as measured.
const ONE_BY_ONE_S: f64 = 40.0;
const PROCESSORS_S: f64 = 90.0;
/// More processors than this found no more to do at once.
const AT_ONCE: f64 = 4.0;
/// What emulation multiplies that with, as measured.
const EMULATED: f64 = 7.0;

/// What was seen of the host's processors.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pace {
    processors: usize,
    /// Of each, with all of them busy; 1 is the reference.
    each: f64,
}

impl Pace {
    fn look() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let rounds: f64 = thread::scope(|scope| {
            let looks: Vec<_> = (0..processors).map(|_| scope.spawn(rounds_per_s)).collect();
            looks.into_iter().filter_map(|look| look.join().ok()).sum()
        });
        #[expect(clippy::cast_precision_loss, reason = "no host has so many")]
        let each = rounds / processors as f64 / REFERENCE_PER_S;
        Self { processors, each }
    }

    /// From nothing to a verified cloud, on machines that run at the host's own speed.
    fn expected(self, times: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "no host has so many")]
        let at_once = (self.processors as f64).min(AT_ONCE);
        let seconds = (ONE_BY_ONE_S + PROCESSORS_S / at_once) / self.each.max(0.01) * times;
        Duration::from_secs_f64(seconds)
    }
}

/// Work that is much like an interpreter's: short strings, a map, memory taken and given back.
fn rounds_per_s() -> f64 {
    let begun = Instant::now();
    let mut rounds = 0.0;
    while begun.elapsed() < LOOK {
        let mut map = BTreeMap::new();
        for key in 0u32..500 {
            map.insert(format!("{:x}", key.wrapping_mul(0x9e37_79b9)), vec![key; 8]);
        }
        let sum: u32 = map.values().flatten().fold(0, |sum, value| sum.wrapping_add(*value));
        std::hint::black_box(sum);
        rounds += 1.0;
    }
    rounds / begun.elapsed().as_secs_f64()
}

/// Looks, and says how long a lab of two machines takes here.
pub(super) fn check(emulates: bool) -> Finding {
    Finding::ok(text(Pace::look(), emulates))
}

fn text(pace: Pace, emulates: bool) -> String {
    let Pace { processors, each } = pace;
    let plural = if processors == 1 { "" } else { "s" };
    let here = out::seconds(pace.expected(1.0));
    let other = if emulates {
        format!(" in containers, {} in emulated machines", out::seconds(pace.expected(EMULATED)))
    } else {
        String::new()
    };
    format!(
        "{processors} processor{plural} of {each:.1} × the reference: a cloud on 1 + 1 machines takes \
         about {here}{other}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_follow_the_processors() {
        let pace = |processors, each| Pace { processors, each };
        let reference = text(pace(2, 1.0), true);
        assert!(reference.contains("about 1 min 25 s in containers, 9 min 55 s in"), "{reference}");
        let fast = text(pace(8, 2.5), false);
        assert!(fast.ends_with("takes about 25 s"), "{fast}");
        assert!(pace(1, 1.0).expected(1.0) > pace(2, 1.0).expected(1.0));
        assert!(pace(0, 0.0).expected(1.0) < Duration::from_secs(1_000_000), "never endless");
    }

    #[test]
    fn every_host_has_a_pace() {
        let pace = Pace::look();
        assert!(pace.processors > 0 && pace.each > 0.0, "{pace:?}");
    }
}
