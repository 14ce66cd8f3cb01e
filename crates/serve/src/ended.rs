//! Tells that a task is over, to whoever wants to know, however it came to that.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// Whether a task is over: it returned, it panicked, or it was dropped. Copies are of the same.
#[derive(Debug, Clone)]
pub struct Ended(CancellationToken);

impl Ended {
    /// Of what is to be run in place of `task`.
    pub fn of<F: Future>(task: F) -> (Self, impl Future<Output = F::Output>) {
        let over = CancellationToken::new();
        let guard = over.clone().drop_guard();
        let task = async move {
            let _guard = guard;
            task.await
        };
        (Self(over), task)
    }

    /// Waits until it is.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().cancelled_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_return_a_panic_and_an_abort_are_told() {
        let (returned, task) = Ended::of(async {});
        tokio::spawn(task);
        let (panicked, task) = Ended::of(async { panic!("x") });
        tokio::spawn(task);
        let (aborted, task) = Ended::of(std::future::pending::<()>());
        tokio::spawn(task).abort();
        let (dropped, task) = Ended::of(async {});
        drop(task);
        for ended in [returned, panicked, aborted, dropped] {
            timeout(Duration::from_secs(10), ended.wait()).await.unwrap();
        }
        let (runs, _task) = Ended::of(std::future::pending::<()>());
        assert!(timeout(Duration::from_millis(20), runs.wait()).await.is_err());
    }
}
