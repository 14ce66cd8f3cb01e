//! The owner of everything that runs in the background.
//!
//! Each task has a name and a row in the book, which `undercloud status` shows: since when it runs,
//! how often it was started again, what it said last. None can end unseen:
//!
//! ```text
//! essential   ends by itself, or panics ─▶ the process ends, with a line that names it;
//!                                          systemd, or the next `undercloud up`, starts it again
//! helpful     ends by itself, or panics ─▶ started again after a pause, and counted
//! periodic    fails, or panics          ─▶ noted; the next run comes in its time
//! ```
//! Tasks that begin and end together are a [`Group`]; stopping it is the only way to end them that
//! is expected.

use std::{
    any::Any,
    collections::BTreeMap,
    convert::Infallible,
    fmt::Display,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use undercloud_api::{
    Clock,
    admin::{BackgroundState, BackgroundTask},
};
use undercloud_netboot::Parts;

/// Before a helpful task is started again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// One that ran for this long is no loop: its pause begins anew.
const GOOD_RUN: Duration = Duration::from_secs(300);
/// What is kept of what a task said.
const SAID_CHARS_MAX: usize = 400;

/// The book. Copies are the same.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    book: Arc<Mutex<Book>>,
    fatal: watch::Sender<Option<String>>,
    clock: Clock,
    again_first: Duration,
    /// The task that a test lets die.
    #[cfg(test)]
    dies: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    rows: BTreeMap<u64, BackgroundTask>,
}

/// Tasks that begin and end together. Dropped, it ends them at once.
#[derive(Debug)]
pub(crate) struct Group {
    tasks: Tasks,
    stop: CancellationToken,
    running: JoinSet<()>,
    rows: Vec<u64>,
}

/// One row of the book.
#[derive(Debug, Clone)]
struct Row {
    tasks: Tasks,
    id: u64,
}

impl Tasks {
    /// Nothing runs yet.
    pub(crate) fn new(clock: Clock) -> Self {
        let fatal = watch::Sender::new(None);
        Self {
            book: Arc::default(),
            fatal,
            clock,
            again_first: AGAIN_FIRST,
            #[cfg(test)]
            dies: watch::Sender::new(None),
        }
    }

    /// All of them, in the order in which they began.
    pub(crate) fn list(&self) -> Vec<BackgroundTask> {
        self.book().rows.values().cloned().collect()
    }

    /// Waits until an essential task has ended, and says which and why.
    pub(crate) async fn fatal(&self) -> String {
        let mut fatal = self.fatal.subscribe();
        // The sender is here, so it does not go away.
        let ended = fatal.wait_for(Option::is_some).await.map(|ended| ended.clone());
        ended.ok().flatten().unwrap_or_default()
    }

    /// Lets the task of this name panic, now and whenever it begins again, until another is named.
    #[cfg(test)]
    pub(super) fn let_die(&self, name: Option<&str>) {
        self.dies.send_replace(name.map(str::to_owned));
    }

    /// A group of tasks that end when `stop` is cancelled.
    pub(crate) fn group(&self, stop: CancellationToken) -> Group {
        Group { tasks: self.clone(), stop, running: JoinSet::new(), rows: Vec::new() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    /// Cancelled when the group is to end.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs it for ever. Its end, by itself or by a panic, is the process's.
    pub(crate) fn essential<E: Display>(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let name = name.into();
        let row = self.enter(&name, None, true);
        let stop = self.stop.clone();
        self.running.spawn(async move {
            let why = ended(row.mortal(&name, task)).await;
            if stop.is_cancelled() {
                return;
            }
            let sentence = format!("the part `{name}` of the daemon ended by itself: {why}");
            row.change(|row, now| {
                row.state = BackgroundState::Ended;
                row.last_error = Some(shortened(&why));
                row.last_error_at = Some(now);
            });
            tracing::error!(task = name, why, "an essential task ended; the daemon ends with it");
            row.tasks.fatal.send_if_modified(|fatal| {
                let is_first = fatal.is_none();
                fatal.get_or_insert(sentence);
                is_first
            });
        });
    }

    /// The same, for what ends only by itself.
    pub(crate) fn essential_part(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.essential(name, task.map(Ok::<(), Infallible>));
    }

    /// Runs it for ever, and again when it ended.
    pub(crate) fn helpful<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: impl Into<String>,
        begin: impl Fn() -> F + Send + Sync + 'static,
    ) {
        let name = name.into();
        let row = self.enter(&name, None, false);
        let stop = self.stop.clone();
        self.running.spawn(async move {
            let again_first = row.tasks.again_first;
            let mut pause = again_first;
            loop {
                let began = tokio::time::Instant::now();
                let run = begin().map(Ok::<(), Infallible>);
                let why = ended(row.mortal(&name, run)).await;
                if stop.is_cancelled() {
                    return;
                }
                if began.elapsed() >= GOOD_RUN {
                    pause = again_first;
                }
                tracing::warn!(task = name, why, ?pause, "a task ended by itself; it begins again");
                row.change(|row, now| {
                    row.state = BackgroundState::Waiting;
                    row.last_error = Some(shortened(&why));
                    row.last_error_at = Some(now);
                });
                if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(AGAIN_MAX);
                row.change(|row, now| {
                    row.state = BackgroundState::Running;
                    row.restarts = row.restarts.saturating_add(1);
                    row.since = now;
                });
            }
        });
    }

    /// Runs it now and then once in each `every`.
    pub(crate) fn periodic<F: Future<Output = anyhow::Result<String>> + Send + 'static>(
        &mut self,
        name: impl Into<String>,
        every: Duration,
        run: impl Fn() -> F + Send + Sync + 'static,
    ) {
        let name = name.into();
        let row = self.enter(&name, Some(every), false);
        let stop = self.stop.clone();
        self.running.spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                row.change(|row, _| row.state = BackgroundState::Running);
                let result = AssertUnwindSafe(async { run().await }).catch_unwind().await;
                let result = match result {
                    Ok(Ok(said)) => Ok(said),
                    Ok(Err(error)) => Err(format!("{error:#}")),
                    Err(panic) => Err(panicked(&*panic)),
                };
                if let Err(error) = &result {
                    tracing::error!(task = name, error, "a periodic task failed");
                }
                row.change(|row, now| row.note(result, now));
            }
        });
    }

    /// Runs network boot's parts; the group's `stop` has to be theirs.
    pub(crate) fn parts(&mut self, parts: Parts) {
        for (name, part) in parts.essential {
            self.essential_part(name, part);
        }
        for (name, begin) in parts.helpful {
            self.helpful(name, begin);
        }
    }

    /// Ends them all; those that have not ended after `bound` are cut off.
    pub(crate) async fn stop(mut self, bound: Duration) {
        self.stop.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        if timeout(bound, all).await.is_err() {
            let cut: Vec<String> = {
                let book = self.tasks.book();
                self.rows
                    .iter()
                    .filter_map(|id| book.rows.get(id))
                    .map(|r| r.name.clone())
                    .collect()
            };
            tracing::warn!(left = self.running.len(), among = ?cut, "tasks cut off at the end");
        }
    }

    fn enter(&mut self, name: &str, every: Option<Duration>, essential: bool) -> Row {
        let now = self.tasks.clock.now();
        let mut book = self.tasks.book();
        let id = book.next;
        book.next += 1;
        let task = BackgroundTask {
            name: name.to_owned(),
            every_ms: every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
            is_essential: essential,
            state: BackgroundState::Running,
            since: now,
            restarts: 0,
            last_run_at: None,
            last_result: None,
            last_error: None,
            last_error_at: None,
        };
        book.rows.insert(id, task);
        drop(book);
        self.rows.push(id);
        Row { tasks: self.tasks.clone(), id }
    }
}

impl Drop for Group {
    /// Takes the book's lock: never let one go while it is held.
    fn drop(&mut self) {
        self.stop.cancel();
        let mut book = self.tasks.book();
        for id in &self.rows {
            book.rows.remove(id);
        }
    }
}

impl Row {
    #[cfg(not(test))]
    fn mortal<F: Future>(&self, _name: &str, task: F) -> F {
        task
    }

    /// The task, which panics when a test says so.
    #[cfg(test)]
    async fn mortal<F: Future>(&self, name: &str, task: F) -> F::Output {
        let mut dies = self.tasks.dies.subscribe();
        tokio::select! {
            biased;
            _ = dies.wait_for(|dies| dies.as_deref() == Some(name)) => panic!("a test let it die"),
            output = task => output,
        }
    }

    fn change(&self, change: impl FnOnce(&mut BackgroundTask, i64)) {
        let now = self.tasks.clock.now();
        if let Some(row) = self.tasks.book().rows.get_mut(&self.id) {
            change(row, now);
        }
    }
}

/// What a run of a periodic task leaves in the book.
trait Note {
    fn note(&mut self, result: Result<String, String>, now: i64);
}

impl Note for BackgroundTask {
    fn note(&mut self, result: Result<String, String>, now: i64) {
        self.state = BackgroundState::Waiting;
        self.last_run_at = Some(now);
        match result {
            Ok(said) => self.last_result = Some(shortened(&said)),
            Err(why) => {
                self.last_error = Some(shortened(&why));
                self.last_error_at = Some(now);
            }
        }
    }
}

/// Why a task that runs for ever is over.
async fn ended<E: Display>(task: impl Future<Output = Result<(), E>>) -> String {
    match AssertUnwindSafe(task).catch_unwind().await {
        Ok(Ok(())) => "it returned".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panicked(&*panic),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a word"))
}

fn shortened(text: &str) -> String {
    text.chars().take(SAID_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn tasks() -> Tasks {
        Tasks { again_first: Duration::from_millis(1), ..Tasks::new(Clock::new(|| 5)) }
    }

    async fn until(tasks: &Tasks, wanted: impl Fn(&BackgroundTask) -> bool) -> BackgroundTask {
        let found = async {
            loop {
                if let Some(row) = tasks.list().into_iter().find(&wanted) {
                    return row;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), found).await.expect("it comes to that")
    }

    #[tokio::test]
    async fn an_essential_task_that_ends_is_named_with_its_reason() {
        let tasks = tasks();
        let mut group = tasks.group(CancellationToken::new());
        group.essential_part("good", std::future::pending());
        group.essential("TFTP", async { Err("the socket is gone") });
        let fatal = timeout(Duration::from_secs(20), tasks.fatal()).await.unwrap();
        assert_eq!(fatal, "the part `TFTP` of the daemon ended by itself: the socket is gone");
        let row = until(&tasks, |row| row.state == BackgroundState::Ended).await;
        assert_eq!((row.name.as_str(), row.is_essential), ("TFTP", true));
    }

    #[tokio::test]
    async fn a_panic_and_a_return_are_ends_too() {
        for panics in [true, false] {
            let tasks = tasks();
            let mut group = tasks.group(CancellationToken::new());
            group.essential_part("engine", async move {
                assert!(!panics, "a turn of m0");
            });
            let fatal = timeout(Duration::from_secs(20), tasks.fatal()).await.unwrap();
            let why = if panics { "it panicked: a turn of m0" } else { "it returned" };
            assert!(fatal.ends_with(why), "{fatal}");
        }
    }

    #[tokio::test]
    async fn a_stop_that_was_asked_for_is_no_failure_and_clears_the_book() {
        let tasks = tasks();
        let stop = CancellationToken::new();
        let mut group = tasks.group(stop.clone());
        let (ends, begins) = (stop.clone(), stop.clone());
        group.essential_part("agents", async move { ends.cancelled().await });
        group.helpful("watch", move || begins.clone().cancelled_owned());
        group.essential_part("stubborn", std::future::pending());
        assert_eq!(tasks.list().len(), 3);
        group.stop(Duration::from_millis(50)).await;
        assert_eq!(tasks.list(), []);
        assert!(tasks.fatal().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_helpful_task_begins_again_and_is_counted() {
        let tasks = tasks();
        let mut group = tasks.group(CancellationToken::new());
        let begun = Arc::new(AtomicU32::new(0));
        let count = begun.clone();
        group.helpful("routers", move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(number != 1, "the second time it panics");
                if number > 2 {
                    std::future::pending::<()>().await;
                }
            }
        });
        let row = until(&tasks, |row| row.restarts == 3).await;
        assert_eq!(row.state, BackgroundState::Running);
        assert_eq!(row.last_error.as_deref(), Some("it returned"));
        assert_eq!(begun.load(Ordering::Relaxed), 4);
        assert!(tasks.fatal().now_or_never().is_none(), "the process goes on");
    }

    #[tokio::test]
    async fn a_periodic_task_runs_in_its_time_whatever_became_of_the_last_run() {
        let tasks = tasks();
        let mut group = tasks.group(CancellationToken::new());
        let runs = Arc::new(AtomicU32::new(0));
        let count = runs.clone();
        group.periodic("retention", Duration::from_millis(30), move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move {
                match number {
                    0 => Ok("removed 3 events".to_owned()),
                    1 => anyhow::bail!("the disk is full"),
                    2 => panic!("a fault"),
                    _ => Ok("removed nothing".to_owned()),
                }
            }
        });
        let row = until(&tasks, |row| row.last_result.is_some()).await;
        assert_eq!(row.last_result.as_deref(), Some("removed 3 events"));
        until(&tasks, |row| row.last_error.as_deref() == Some("the disk is full")).await;
        until(&tasks, |row| row.last_error.as_deref() == Some("it panicked: a fault")).await;
        let said = |row: &BackgroundTask| row.last_result.as_deref() == Some("removed nothing");
        let row = until(&tasks, said).await;
        assert_eq!((row.every_ms, row.state), (Some(30), BackgroundState::Waiting));
    }
}
