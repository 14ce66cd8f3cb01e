//! Ends a daemon that has stopped without ending: every thread of the runtime waits for something
//! that does not come, and nobody is served any more, not even SIGTERM.
//!
//! A task on the runtime says that it lives, each second. A thread outside of it looks, and after
//! [`SILENCE_MAX`] writes down where every thread stands and aborts the process; systemd, or the
//! next `undercloud up`, starts it again, and it goes on from the store. It counts its own looks, not
//! the time: after the whole process was stopped (SIGSTOP, a suspended host) it is in no hurry.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// How long the runtime may be silent.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often life is shown, and looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is read of a thread's files.
const FILE_CHARS_MAX: usize = 2000;

/// The runtime's heart, and the thread that listens to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Heart {
    beats: Arc<AtomicU64>,
    rests: Arc<AtomicBool>,
}

impl Heart {
    /// Beats on the runtime; to be run for ever.
    pub(super) async fn beat(self) {
        loop {
            self.beats.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The process ends in good order: nobody has to look any more.
    pub(super) fn rest(&self) {
        self.rests.store(true, Ordering::Relaxed);
    }

    /// Listens on a thread of its own, and does `then` when there was no beat for `silence_max`.
    ///
    /// # Errors
    /// There is no such thread.
    pub(super) fn watch(
        &self,
        silence_max: Duration,
        then: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let heart = self.clone();
        let every = LOOK_EVERY.min(silence_max / 10);
        let looks_max = silence_max.as_millis() / every.as_millis().max(1);
        let watch = move || {
            let mut silence = Silence::new(heart.beats.load(Ordering::Relaxed), looks_max);
            while !heart.rests.load(Ordering::Relaxed) {
                thread::sleep(every);
                if silence.is_too_long(heart.beats.load(Ordering::Relaxed)) {
                    return then();
                }
            }
        };
        thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
    }
}

/// How many looks there was no beat.
struct Silence {
    beats: u64,
    looks: u128,
    looks_max: u128,
}

impl Silence {
    const fn new(beats: u64, looks_max: u128) -> Self {
        Self { beats, looks: 0, looks_max }
    }

    /// One look.
    fn is_too_long(&mut self, beats: u64) -> bool {
        self.looks = if beats == self.beats { self.looks + 1 } else { 0 };
        self.beats = beats;
        self.looks >= self.looks_max
    }
}

/// Says where every thread stands, and aborts: with the runtime nothing else ends this process.
pub(super) fn abort() {
    let seconds = SILENCE_MAX.as_secs();
    let text = format!(
        "error: the daemon's runtime has not run for {seconds} s; it is ended by its watchdog\n\
         hint: what its threads waited for is above this line; it can be started again\n"
    );
    // Straight to the log: whoever holds the lock of a logger may be among those that hang.
    let mut log = io::stderr();
    let _written = log.write_all(threads().as_bytes());
    let _written = log.write_all(text.as_bytes());
    std::process::abort();
}

/// Every thread of this process: its name, its state, and what it waits for in the kernel.
fn threads() -> String {
    let mut text = String::from("threads of the daemon:\n");
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks {
        let read = |file: &str| {
            let read = fs::read_to_string(task.path().join(file)).unwrap_or_default();
            read.trim().chars().take(FILE_CHARS_MAX).collect::<String>()
        };
        let status = read("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("?");
        let _infallible = writeln!(
            text,
            "  {} `{}`: {}, waits in {}, system call {}",
            task.file_name().to_string_lossy(),
            read("comm"),
            state.trim(),
            read("wchan"),
            read("syscall"),
        );
        for line in read("stack").lines() {
            let _infallible = writeln!(text, "      {line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_runtime_that_hangs_is_noticed_and_one_that_lives_is_not() {
        let mut silence = Silence::new(0, 10);
        // A beat at every ninth look, for longer than the silence that is allowed.
        for look in 1..100 {
            assert!(!silence.is_too_long(look / 9), "it lives: {look}");
        }
        let hangs = (0..20).position(|_| silence.is_too_long(11));
        assert_eq!(hangs, Some(9), "the tenth look");
        let heart = Heart::default();
        let (bark, barked) = mpsc::channel();
        heart.watch(Duration::from_millis(50), move || bark.send(()).unwrap()).unwrap();
        barked.recv_timeout(Duration::from_secs(20)).expect("it hangs");
    }

    #[test]
    fn a_blocked_runtime_stops_beating() {
        let heart = Heart::default();
        let (bark, barked) = mpsc::channel();
        let (let_go, hold) = mpsc::channel::<()>();
        let beating = heart.clone();
        let runtime = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::spawn(beating.beat());
                tokio::task::yield_now().await;
                let _ = hold.recv();
            });
        });
        heart.watch(Duration::from_millis(200), move || bark.send(()).unwrap()).unwrap();
        barked.recv_timeout(Duration::from_secs(20)).expect("the runtime hangs");
        let_go.send(()).unwrap();
        runtime.join().unwrap();
    }

    #[test]
    fn at_rest_nobody_listens() {
        let heart = Heart::default();
        heart.rest();
        let (bark, barked) = mpsc::channel();
        heart.watch(Duration::from_millis(50), move || bark.send(()).unwrap()).unwrap();
        assert!(barked.recv_timeout(Duration::from_secs(20)).is_err(), "the sender is dropped");
    }

    #[test]
    fn threads_are_named_with_what_they_wait_for() {
        let (let_go, hold) = mpsc::channel::<()>();
        let waiting = thread::Builder::new().name("waits".to_owned());
        let waiting = waiting.spawn(move || hold.recv()).unwrap();
        let start = std::time::Instant::now();
        while !threads().contains("`waits`: S (sleeping)") {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", threads());
            thread::yield_now();
        }
        drop(let_go);
        let _ended = waiting.join();
    }
}
