//! What enrolment costs the database: counted in what sqlx says of each query. A program of its own,
//! for it listens to all of them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use undercloud_model::{
    Secret,
    node::{NewNode, RawNode},
};
use undercloud_store::{Open, ProvisioningRange, Store};

const NOW: i64 = 1_700_000_000_000;

static QUERIES: AtomicU64 = AtomicU64::new(0);
static ROWS: AtomicU64 = AtomicU64::new(0);

/// Counts queries, and the rows that they gave.
struct Counter;

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, event: &Event<'_>) {
        QUERIES.fetch_add(1, Ordering::SeqCst);
        event.record(&mut Rows);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Rows;

impl Visit for Rows {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rows_returned" {
            ROWS.fetch_add(value, Ordering::SeqCst);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

fn machine(number: u16) -> NewNode {
    let [high, low] = number.to_be_bytes();
    NewNode::try_from(RawNode {
        name: format!("m-{number}"),
        bmc_address: format!("192.0.{high}.{low}"),
        bmc_user: "admin".into(),
        bmc_password: Secret::new("correct horse 16"),
        macs: vec![format!("52:54:00:00:{high:02x}:{low:02x}")],
        ..RawNode::default()
    })
    .unwrap()
}

/// Queries and rows of importing so many machines.
async fn cost(count: u16) -> [u64; 2] {
    let dir = tempfile::tempdir().unwrap();
    let file = camino::Utf8PathBuf::from_path_buf(dir.path().join("db")).unwrap();
    let store = Store::open(file, Open::at(NOW)).await.unwrap();
    let range = ProvisioningRange {
        network: "10.20.0.0/16".parse().unwrap(),
        first: "10.20.0.10".parse().unwrap(),
        last: "10.20.200.10".parse().unwrap(),
    };
    store.set_provisioning_range(&range).await.unwrap();
    let before = [&QUERIES, &ROWS].map(|count| count.load(Ordering::SeqCst));
    let enrolled = store.import_nodes((0..count).map(machine).collect(), NOW).await.unwrap();
    let after = [&QUERIES, &ROWS].map(|count| count.load(Ordering::SeqCst));
    let addresses: Vec<_> = enrolled.iter().map(|done| done.node().ports[0].address).collect();
    assert_eq!(addresses[0].to_string(), "10.20.0.10/16");
    assert!(addresses.is_sorted_by(|a, b| a.addr() < b.addr()), "the lowest that is free");
    let known = store.nodes().await.unwrap().len();
    assert_eq!(known, usize::from(count));
    store.close().await;
    [after[0] - before[0], after[1] - before[1]]
}

#[tokio::test]
async fn four_times_as_many_machines_cost_four_times_as_much() {
    tracing::subscriber::set_global_default(Counter).unwrap();
    let (few, many) = (cost(500).await, cost(2000).await);
    assert!(few[0] > 500, "nothing was counted: {few:?}");
    for (few, many) in few.into_iter().zip(many) {
        // What does not depend on their number is counted with the few.
        assert!(many <= 4 * few, "{few}, then {many}");
    }
}
