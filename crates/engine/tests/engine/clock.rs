//! The host's clock is set while machines are at work: nothing fails, and nothing waits for hours.

use undercloud_model::node::{BootProgress, FailureKind as K, Phase, ProvisionState as S, Verb};

use crate::{lab::Lab, rack::Fault};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

impl Lab {
    /// As the daemon does when it sees that.
    async fn clock_is_set(&self, by: i64) {
        let now = self.clock.now() + by;
        self.store.clock_was_set(by, now, |by| self.clock.advance(by)).await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_set_by_hours_fails_nobody() {
    for by in [3 * HOUR, -3 * HOUR] {
        let lab = Lab::new().await;
        lab.prepare().await.unwrap();
        lab.do_it(Verb::Manage).await;
        lab.rack.set_fault(Some(Fault::NeverBoots(BootProgress::Silent)));
        lab.ask(Verb::Inspect).await;
        lab.until(|n| n.phase == Phase::AgentBoots).await;
        lab.advance(9 * MINUTE);
        lab.clock_is_set(by).await;
        // It has its ten minutes, and no more.
        lab.advance(MINUTE / 2);
        let asked = lab.store.request("compute-0", Verb::Abort, lab.clock.now()).await;
        let node = lab.store.wait_settled(&asked.unwrap(), crate::lab::HANGS).await.unwrap();
        assert_eq!(node.unwrap().last_error.unwrap().kind, K::Aborted, "{by}");

        lab.ask(Verb::Inspect).await;
        lab.until(|n| n.phase == Phase::AgentBoots).await;
        lab.clock_is_set(-by).await;
        lab.advance(11 * MINUTE);
        let node = lab.until(|n| !n.is_busy()).await;
        assert_eq!(node.last_error.unwrap().kind, K::NeverBooted, "{by}");
        lab.rack.set_fault(None);
        assert_eq!(lab.install().await.unwrap().state, S::Active);
    }
}
