//! The connections of a listener, each a task.

use std::{future::Future, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::timeout,
};

/// Connections that are under way. They end when this is dropped.
#[derive(Debug, Default)]
pub struct Connections(JoinSet<()>);

impl Connections {
    /// One more.
    pub fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        let _count = self.count();
        self.0.spawn(connection);
    }

    /// How many there are now.
    pub fn count(&mut self) -> usize {
        while let Some(ended) = self.0.try_join_next() {
            note(ended);
        }
        self.0.len()
    }

    /// Waits for them to end by themselves, for `bound`, and cuts off the rest. Returns how many
    /// those were.
    pub async fn drain(mut self, bound: Duration) -> usize {
        let all = async {
            while let Some(ended) = self.0.join_next().await {
                note(ended);
            }
        };
        let _late = timeout(bound, all).await;
        let rest = self.0.len();
        self.0.shutdown().await;
        rest
    }
}

/// The panic itself is in the log.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended by a panic");
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test]
    async fn draining_waits_for_some_and_cuts_off_the_rest() {
        let mut connections = Connections::default();
        let start = Instant::now();
        connections.spawn(sleep(Duration::from_millis(10)));
        connections.spawn(std::future::pending());
        assert_eq!(connections.count(), 2);
        assert_eq!(connections.drain(Duration::from_millis(100)).await, 1);
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn draining_ends_with_the_last_and_a_panic_is_none_of_it() {
        let mut connections = Connections::default();
        let start = Instant::now();
        connections.spawn(async { panic!("x") });
        connections.spawn(sleep(Duration::from_millis(10)));
        assert_eq!(connections.drain(Duration::from_secs(60)).await, 0);
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
