//! The daemon dies before and after every write of the way from nothing to `active`, and is started
//! again on the same files. The machine and its agent go on. Whatever the line: no machine is lost,
//! none is switched once more than without a crash, and its disk is written once.

use undercloud_model::node::{Policy, ProvisionState as S};
use undercloud_store::{Halt, StoreError};

use crate::{lab::Lab, rack::Counts};

/// More writes than the way has.
const WRITES_MAX: u64 = 400;

async fn die_at_every_write(halt: fn(u64) -> Halt, fast_track: bool, expected: Counts) {
    die_on_the_way(halt, fast_track, false, expected).await;
}

async fn die_on_the_way(halt: fn(u64) -> Halt, fast_track: bool, by_media: bool, expected: Counts) {
    let policy = Policy { fast_track, ..Policy::default() };
    for n in 1..WRITES_MAX {
        let mut lab = Lab::with(policy.clone(), Some(halt(n))).await;
        if by_media {
            lab = lab.by_media();
        }
        let died = match lab.install().await {
            Err(StoreError::Halted) => true,
            Ok(node) if node.state == S::Active => false,
            other => panic!("write {n}: {other:?}"),
        };
        if died {
            lab.restart().await;
            let node = lab.install().await.unwrap();
            assert_eq!(node.state, S::Active, "write {n}: {:?}", node.last_error);
        }
        assert_eq!(lab.rack.counts(), expected, "write {n}");
        if !died {
            #[expect(
                clippy::print_stdout,
                reason = "how many crash points there were is this test's figure"
            )]
            {
                println!("died at each of {} writes", n - 1);
            }
            assert!(n > 20, "the way has more writes than {n}");
            return;
        }
    }
    panic!("the way has no end");
}

const FAST: Counts = Counts { power_ons: 2, power_offs: 1, hellos: 1, wipes: 1, writes: 1 };
const SLOW: Counts = Counts { power_ons: 4, power_offs: 3, hellos: 3, wipes: 1, writes: 1 };

#[tokio::test]
async fn before_every_write_with_fast_track() {
    die_at_every_write(Halt::Before, true, FAST).await;
}

#[tokio::test]
async fn after_every_write_with_fast_track() {
    die_at_every_write(Halt::After, true, FAST).await;
}

#[tokio::test]
async fn before_every_write_without_fast_track() {
    die_at_every_write(Halt::Before, false, SLOW).await;
}

#[tokio::test]
async fn after_every_write_without_fast_track() {
    die_at_every_write(Halt::After, false, SLOW).await;
}

#[tokio::test]
async fn before_every_write_by_virtual_media() {
    die_on_the_way(Halt::Before, true, true, FAST).await;
}

#[tokio::test]
async fn after_every_write_by_virtual_media() {
    die_on_the_way(Halt::After, false, true, SLOW).await;
}
