//! The tasks of this process.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::Instant};
use undercloud_model::ErrorKind;
use uuid::Uuid;

use super::{TaskLine, TaskProgress, TaskRequest, TaskState, TaskView};
use crate::{ApiError, Clock};

/// Ended tasks that are remembered.
const ENDED_MAX: usize = 32;

/// Lines of a task that are remembered. A log file has them all.
const LINES_MAX: usize = 2000;

struct Task {
    subject: &'static str,
    /// What was asked for; nothing where the daemon asked itself.
    request: Option<TaskRequest>,
    view: TaskView,
    lines: VecDeque<TaskLine>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    tasks: VecDeque<Task>,
}

/// Runs tasks and remembers how they ended. Dropped with the last copy, it ends them.
#[derive(Clone)]
pub struct Tasks {
    table: Arc<Mutex<Table>>,
    /// Under a lock of its own: a task that ends, wherever it is dropped, locks the table.
    running: Arc<Mutex<JoinSet<()>>>,
    clock: Clock,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tasks")
    }
}

/// A task's mouth.
pub struct Reporter {
    id: Uuid,
    table: std::sync::Weak<Mutex<Table>>,
    clock: Clock,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("id", &self.id).finish_non_exhaustive()
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tasks {
    /// No tasks yet.
    pub fn new(clock: Clock) -> Self {
        Self { table: Arc::default(), running: Arc::default(), clock }
    }

    /// Starts what was asked for, or finds it where somebody else asked for the same and it is
    /// under way.
    ///
    /// # Errors
    /// `Busy` with the name of what runs, where that is something else.
    pub fn start_or_follow<F: Future<Output = Result<Value, ApiError>> + Send + 'static>(
        &self,
        request: TaskRequest,
        work: impl FnOnce(TaskRequest, Reporter) -> F,
    ) -> Result<Uuid, ApiError> {
        if let Some(id) = lock(&self.table).same_under_way(&request) {
            return Ok(id);
        }
        let (subject, name, asked) = (request.subject(), request.name(), request.clone());
        self.begin(subject, name, Some(asked), |reporter| work(request, reporter))
    }

    /// Starts `work`, unless something works on `subject`.
    ///
    /// # Errors
    /// `Busy` with the name of what runs.
    pub fn start<F: Future<Output = Result<Value, ApiError>> + Send + 'static>(
        &self,
        subject: &'static str,
        name: &str,
        work: impl FnOnce(Reporter) -> F,
    ) -> Result<Uuid, ApiError> {
        self.begin(subject, name, None, work)
    }

    fn begin<F: Future<Output = Result<Value, ApiError>> + Send + 'static>(
        &self,
        subject: &'static str,
        name: &str,
        request: Option<TaskRequest>,
        work: impl FnOnce(Reporter) -> F,
    ) -> Result<Uuid, ApiError> {
        let id = self.enter(subject, name, request)?;
        let reporter =
            || Reporter { id, table: Arc::downgrade(&self.table), clock: self.clock.clone() };
        // No lock of the table from here on: `work`, its future and `end` may each be dropped at
        // once (by a panic, by a runtime that is shutting down), and `end` takes that lock then.
        let end = End { reporter: reporter() };
        let work = work(reporter());
        let mut running = lock(&self.running);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let result = work.await;
            end.with(result);
        });
        Ok(id)
    }

    /// Puts a task on the list, unless something works on `subject`.
    fn enter(
        &self,
        subject: &'static str,
        name: &str,
        request: Option<TaskRequest>,
    ) -> Result<Uuid, ApiError> {
        let mut table = lock(&self.table);
        let busy = |t: &&Task| t.subject == subject && t.view.state == TaskState::Running;
        if let Some(task) = table.tasks.iter().find(busy) {
            let name = &task.view.name;
            return Err(ApiError::new(ErrorKind::Busy, format!("`{name}` is under way"))
                .hint("wait for its end: `undercloud status` shows it"));
        }
        while table.tasks.len() >= ENDED_MAX {
            let ended = table.tasks.iter().position(|t| t.view.state != TaskState::Running);
            let Some(ended) = ended else { break };
            table.tasks.remove(ended);
        }
        let id = Uuid::new_v4();
        let view = TaskView {
            id,
            name: name.to_owned(),
            state: TaskState::Running,
            started_at: self.clock.now(),
            ended_at: None,
            result: None,
            error: None,
            progress: None,
            lines: Vec::new(),
            next_line: 0,
        };
        let (changed, _) = watch::channel(());
        table.tasks.push_back(Task { subject, request, view, lines: VecDeque::new(), changed });
        Ok(id)
    }

    /// All, the newest first, without their lines.
    pub fn list(&self) -> Vec<TaskView> {
        lock(&self.table).tasks.iter().rev().map(|t| t.view.clone()).collect()
    }

    /// One, with its lines from that one on.
    ///
    /// # Errors
    /// `NotFound` when it is none of this process.
    pub fn look(&self, id: Uuid, from_line: u64) -> Result<TaskView, ApiError> {
        lock(&self.table).find(id).map(|task| task.look(from_line)).ok_or_else(|| {
            ApiError::not_found(format!("there is no task {id}"))
                .hint("the daemon was started anew: type the command again, it resumes")
        })
    }

    /// Like [`Tasks::look`], after something new or after `wait`.
    ///
    /// # Errors
    /// As there.
    pub async fn wait(
        &self,
        id: Uuid,
        from_line: u64,
        wait: Duration,
    ) -> Result<TaskView, ApiError> {
        let until = Instant::now() + wait;
        let changed = lock(&self.table).find(id).map(|task| task.changed.subscribe());
        let Some(mut changed) = changed else { return self.look(id, from_line) };
        let before = self.look(id, from_line)?.progress;
        loop {
            changed.mark_unchanged();
            let view = self.look(id, from_line)?;
            let over = view.state != TaskState::Running || !view.lines.is_empty();
            if over
                || view.progress != before
                || tokio::time::timeout_at(until, changed.changed()).await.is_err()
            {
                return Ok(view);
            }
        }
    }
}

impl Table {
    fn same_under_way(&self, request: &TaskRequest) -> Option<Uuid> {
        let is_it = |task: &&Task| {
            task.view.state == TaskState::Running && task.request.as_ref() == Some(request)
        };
        self.tasks.iter().find(is_it).map(|task| task.view.id)
    }

    fn find(&mut self, id: Uuid) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.view.id == id)
    }
}

impl Task {
    fn look(&self, from_line: u64) -> TaskView {
        let lines = self.lines.iter().filter(|line| line.number >= from_line).cloned().collect();
        TaskView { lines, ..self.view.clone() }
    }
}

impl Reporter {
    /// Says something.
    pub fn line(&self, text: impl fmt::Display) {
        self.put(text.to_string(), None);
    }

    /// Says that a part of the task came to its end, and what came out.
    pub fn ended(&self, part: &str, text: impl fmt::Display) {
        self.put(text.to_string(), Some(part.to_owned()));
    }

    fn put(&self, text: String, ends: Option<String>) {
        let at = self.clock.now();
        self.change(|task| {
            if task.lines.len() >= LINES_MAX {
                task.lines.pop_front();
            }
            task.lines.push_back(TaskLine { number: task.view.next_line, at, text, ends });
            task.view.next_line += 1;
        });
    }

    /// Says how far it is.
    pub fn progress(&self, progress: TaskProgress) {
        self.change(|task| task.view.progress = Some(progress));
    }

    fn change(&self, change: impl FnOnce(&mut Task)) {
        let Some(table) = self.table.upgrade() else { return };
        if let Some(task) = lock(&table).find(self.id) {
            change(task);
            task.changed.send_replace(());
        }
    }
}

/// Notes a task's end, also one by panic.
struct End {
    reporter: Reporter,
}

impl End {
    fn with(self, result: Result<Value, ApiError>) {
        let now = self.reporter.clock.now();
        self.reporter.change(|task| {
            task.view.ended_at = Some(now);
            match result {
                Ok(value) => {
                    task.view.state = TaskState::Done;
                    task.view.result = Some(value);
                }
                Err(error) => {
                    task.view.state = TaskState::Failed;
                    task.view.error = Some(error);
                }
            }
        });
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let now = self.reporter.clock.now();
        self.reporter.change(|task| {
            if task.view.state == TaskState::Running {
                task.view.state = TaskState::Failed;
                task.view.ended_at = Some(now);
                task.view.error =
                    Some(ApiError::new(ErrorKind::Bug, "the task ended without a result"));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use undercloud_model::installation::Until;

    use super::*;

    fn tasks() -> Tasks {
        Tasks::new(Clock::new(|| 5))
    }

    async fn ended(tasks: &Tasks, id: Uuid) -> TaskView {
        loop {
            let view = tasks.wait(id, u64::MAX, Duration::from_secs(10)).await.unwrap();
            if view.state != TaskState::Running {
                return view;
            }
        }
    }

    #[tokio::test]
    async fn one_works_on_a_thing_at_a_time() {
        let tasks = tasks();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let id = tasks
            .start("lab", "lab create", |reporter| async move {
                reporter.line("one");
                wait.await.unwrap();
                reporter.line("two");
                Ok(json!(1))
            })
            .unwrap();
        let first = tasks.wait(id, 0, Duration::from_secs(10)).await.unwrap();
        assert_eq!((first.lines[0].text.as_str(), first.next_line), ("one", 1));
        let busy = tasks.start("lab", "lab delete", |_| async { Ok(json!(2)) }).unwrap_err();
        assert_eq!(busy.kind, ErrorKind::Busy);
        go.send(()).unwrap();
        let second = tasks.wait(id, first.next_line, Duration::from_secs(10)).await.unwrap();
        assert_eq!(second.lines[0].text, "two");
        assert_eq!(ended(&tasks, id).await.result, Some(json!(1)));
        let id = tasks.start("lab", "lab delete", |_| async { Ok(json!(2)) }).unwrap();
        assert_eq!(ended(&tasks, id).await.result, Some(json!(2)));
    }

    #[tokio::test]
    async fn who_asks_for_what_is_under_way_follows_it() {
        let tasks = tasks();
        let request = |text: &str| TaskRequest::CloudInstall {
            description: text.into(),
            ssh_keys: Vec::new(),
            until: Until::default(),
        };
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let work = |_: TaskRequest, reporter: Reporter| async move {
            reporter.line("one");
            wait.await.unwrap();
            Ok(json!(1))
        };
        let first = tasks.start_or_follow(request("a"), work).unwrap();
        let never = |_: TaskRequest, _: Reporter| async { Ok(json!("a second run")) };
        assert_eq!(tasks.start_or_follow(request("a"), never).unwrap(), first);
        // Another cloud is not what is being installed.
        let busy = tasks.start_or_follow(request("b"), never).unwrap_err();
        assert_eq!(busy.kind, ErrorKind::Busy);
        go.send(()).unwrap();
        let end = ended(&tasks, first).await;
        assert_eq!((end.result, end.name.as_str()), (Some(json!(1)), "cloud install"));
        assert_eq!(tasks.look(first, 0).unwrap().lines.len(), 1);
        // It is over: the same is asked for anew.
        let second = tasks.start_or_follow(request("a"), never).unwrap();
        assert_ne!(second, first);
        assert_eq!(ended(&tasks, second).await.result, Some(json!("a second run")));
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_frees_the_thing() {
        let tasks = tasks();
        let id = tasks.start("lab", "lab create", |_| async { panic!("x") }).unwrap();
        let view = ended(&tasks, id).await;
        assert_eq!(view.error.unwrap().kind, ErrorKind::Bug);
        let fails = |_| async { Err(ApiError::invalid("no")) };
        let id = tasks.start("lab", "lab create", fails).unwrap();
        assert_eq!(ended(&tasks, id).await.error.unwrap().message, "no");
    }

    /// Runs it on a thread, so that one that hangs fails the test instead of hanging it.
    fn in_time(test: impl FnOnce() + Send + 'static) {
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            test();
            done.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(10)).expect("it hangs or failed");
    }

    #[test]
    fn work_that_panics_before_it_is_a_future_is_a_failure_and_locks_nothing() {
        in_time(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _entered = runtime.enter();
            let tasks = tasks();
            let starting = tasks.clone();
            let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                starting.start("lab", "lab create", |_| -> std::future::Ready<_> { panic!("x") })
            }));
            assert!(started.is_err());
            assert_eq!(tasks.list()[0].state, TaskState::Failed);
        });
    }

    #[test]
    fn work_that_a_runtime_at_its_end_does_not_take_is_a_failure_and_locks_nothing() {
        in_time(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let handle = runtime.handle().clone();
            drop(runtime);
            let _entered = handle.enter();
            let tasks = tasks();
            tasks.start("lab", "lab create", |_| async { Ok(json!(1)) }).unwrap();
            assert_eq!(tasks.list()[0].state, TaskState::Failed);
        });
    }

    #[test]
    fn work_may_say_something_before_it_is_a_future() {
        in_time(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _entered = runtime.enter();
            let tasks = tasks();
            let work = |reporter: Reporter| {
                reporter.line("at once");
                async { Ok(json!(1)) }
            };
            let id = tasks.start("lab", "lab create", work).unwrap();
            assert_eq!(tasks.look(id, 0).unwrap().lines[0].text, "at once");
        });
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let tasks = tasks();
        let mut first = None;
        for _ in 0..ENDED_MAX + 5 {
            let id = tasks
                .start("lab", "lab create", |reporter| async move {
                    (0..LINES_MAX + 3).for_each(|i| reporter.line(i));
                    Ok(json!(0))
                })
                .unwrap();
            let view = ended(&tasks, id).await;
            assert_eq!(view.next_line, LINES_MAX as u64 + 3);
            assert_eq!(tasks.look(id, 0).unwrap().lines.len(), LINES_MAX);
            first.get_or_insert(id);
        }
        assert_eq!(tasks.list().len(), ENDED_MAX);
        assert_eq!(tasks.look(first.unwrap(), 0).unwrap_err().kind, ErrorKind::NotFound);
    }
}
