//! The file, its connections, and the one way to write.

use std::{
    collections::{HashMap, HashSet},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use sqlx::{
    Connection as _, SqlSafeStr as _, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::{Migration, MigrationType, Migrator},
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;
use undercloud_model::{Caller, NodeId, StepId, UnixMillis};

use crate::{
    Principal,
    error::{StoreError, sql, unmigrated, unopened},
    timeline,
    waiting::Waiting,
};

/// For a connection, and for another process to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS_MAX: u32 = 4;
/// 64 MiB.
const JOURNAL_BYTES_MAX: &str = "67108864";

/// In order, never changed once released.
const MIGRATIONS: &[Version] = &[
    (1, "nodes", include_str!("schema/0001_nodes.sql")),
    (2, "container images", include_str!("schema/0002_container_images.sql")),
    (3, "cloud", include_str!("schema/0003_cloud.sql")),
    (4, "ssh host keys", include_str!("schema/0004_ssh_host_keys.sql")),
    (5, "consent", include_str!("schema/0005_consent.sql")),
    (6, "due", include_str!("schema/0006_due.sql")),
    (7, "timeline", include_str!("schema/0007_timeline.sql")),
    (8, "ailments", include_str!("schema/0008_ailments.sql")),
    (9, "installations", include_str!("schema/0009_installations.sql")),
    (10, "due by BMC", include_str!("schema/0010_due_by_bmc.sql")),
];

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    asked_by: Option<Arc<Caller>>,
}

#[derive(Debug)]
struct Inner {
    path: Utf8PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    opened_at: AtomicI64,
    restart_grace_ms: i64,
    changes: watch::Sender<u64>,
    uses: watch::Sender<Uses>,
    waiting: Waiting,
    memory: Mutex<Memory>,
    halt: Mutex<HaltState>,
}

/// What need not survive: it is rebuilt by the next calls.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// When each node's ramdisk called last.
    pub(crate) ramdisk_seen: HashMap<NodeId, UnixMillis>,
    /// When each agent's heartbeat was written down last.
    pub(crate) seen_written: HashMap<Principal, UnixMillis>,
    /// Whose power was seen by this process.
    pub(crate) power_seen: HashSet<NodeId>,
    /// When each order's progress was written down last.
    pub(crate) progress_written: HashMap<StepId, UnixMillis>,
}

/// How to open a [`Store`].
#[derive(Debug, Clone, Copy)]
pub struct Open {
    /// Now: agents could not call before.
    pub now: UnixMillis,
    /// How long after that a boot window that ended meanwhile still counts
    /// (`Policy::restart_grace_ms`).
    pub restart_grace_ms: i64,
    /// For tests of crash safety.
    pub halt: Option<Halt>,
}

impl Open {
    /// The usual way, at `now`.
    pub fn at(now: UnixMillis) -> Self {
        let restart_grace_ms = undercloud_model::node::Policy::default().restart_grace_ms;
        Self { now, restart_grace_ms, halt: None }
    }
}

/// Where a test lets the process die: at the nth write, counted from 1. Every later use of this
/// store fails with [`StoreError::Halted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// Just before the commit: what was done outside the database is not written down.
    Before(u64),
    /// Just after the commit: nothing that follows from it was done.
    After(u64),
}

#[derive(Debug, Default)]
struct HaltState {
    plan: Option<Halt>,
    writes: u64,
    halted: bool,
}

impl Store {
    /// The same store, as it is used for this caller: events that are written through it, directly
    /// or with what causes them, name the caller (`by` in their data).
    #[must_use]
    pub fn asked_by(&self, caller: &Caller) -> Self {
        Self { inner: self.inner.clone(), asked_by: Some(Arc::new(caller.clone())) }
    }

    /// Opens the database at `path`, makes it if need be, and brings its tables up to date.
    ///
    /// # Errors
    /// The file cannot be opened, or is of a newer version.
    pub async fn open(path: impl AsRef<Utf8Path>, open: Open) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk when it returns: a lost one could write a disk twice.
            .synchronous(SqliteSynchronous::Full)
            // A log that had to grow once gives its room back.
            .pragma("journal_size_limit", JOURNAL_BYTES_MAX)
            .busy_timeout(BUSY_TIMEOUT);
        let opened = unopened(&path);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .acquire_timeout(BUSY_TIMEOUT)
            // SQLite ends a transaction by itself when the disk is full; sqlx then counts one that
            // cannot be ended any more, and begins no other on that connection.
            .before_acquire(|writer, _| Box::pin(async { Ok(!writer.is_in_transaction()) }))
            .connect_with(options.clone())
            .await
            .map_err(&opened)?;
        let migrated = migrator(MIGRATIONS).run(&writer).await;
        migrated.map_err(unmigrated(&path, newest_version()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            // It is a file: there is no peer that may have gone.
            .test_before_acquire(false)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(&opened)?;
        drop(opened);
        let halt = HaltState { plan: open.halt, ..HaltState::default() };
        let store = Self {
            inner: Arc::new(Inner {
                path,
                writer,
                readers,
                opened_at: AtomicI64::new(open.now),
                restart_grace_ms: open.restart_grace_ms,
                changes: watch::Sender::new(0),
                uses: watch::Sender::new(Uses::default()),
                waiting: Waiting::default(),
                memory: Mutex::default(),
                halt: Mutex::new(halt),
            }),
            asked_by: None,
        };
        store.follow_a_clock_that_went_back(open.now).await?;
        Ok(store)
    }

    /// The file.
    pub fn path(&self) -> &Utf8Path {
        &self.inner.path
    }

    /// Since when agents could call this process.
    pub fn opened_at(&self) -> UnixMillis {
        self.inner.opened_at.load(Ordering::Relaxed)
    }

    /// Everything that is remembered is of that much later: the clock was set.
    pub(crate) fn move_memory(&self, by_ms: i64) {
        self.inner.opened_at.fetch_add(by_ms, Ordering::Relaxed);
        let mut memory = self.memory();
        let Memory { ramdisk_seen, seen_written, power_seen: _, progress_written } = &mut *memory;
        ramdisk_seen.values_mut().for_each(|at| *at += by_ms);
        seen_written.values_mut().for_each(|at| *at += by_ms);
        progress_written.values_mut().for_each(|at| *at += by_ms);
    }

    pub(crate) fn grace_until(&self) -> UnixMillis {
        self.opened_at().saturating_add(self.inner.restart_grace_ms)
    }

    /// Changes whenever something was written.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Something that is remembered alone is to be looked at.
    pub(crate) fn tell_change(&self) {
        self.inner.changes.send_modify(|n| *n += 1);
    }

    /// How much the database is used.
    pub fn uses(&self) -> watch::Receiver<Uses> {
        self.inner.uses.subscribe()
    }

    /// Writes made by this process.
    pub fn writes(&self) -> u64 {
        self.halt().writes
    }

    /// How much room it takes, its journal included.
    pub fn bytes(&self) -> u64 {
        let size = |path: &str| std::fs::metadata(path).map_or(0, |file| file.len());
        let path = self.inner.path.as_str();
        size(path) + size(&format!("{path}-wal")) + size(&format!("{path}-shm"))
    }

    /// Writes the file anew, without its free pages. Writers wait meanwhile.
    pub(crate) async fn vacuum(&self) -> Result<(), StoreError> {
        self.alive()?;
        let _use = Use::begin(self);
        let mut writer = self.inner.writer.acquire().await.map_err(sql("be written to"))?;
        for statement in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            let done = sqlx::query(statement).execute(&mut *writer).await;
            done.map_err(sql("give room back"))?;
        }
        Ok(())
    }

    /// Lets go of the file, with everything in it.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// Who waits for orders.
    pub(crate) fn waiting(&self) -> &Waiting {
        &self.inner.waiting
    }

    pub(crate) fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.inner.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn halt(&self) -> std::sync::MutexGuard<'_, HaltState> {
        self.inner.halt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.halt().halted { Err(StoreError::Halted) } else { Ok(()) }
    }

    pub(crate) async fn read(&self) -> Result<Read, StoreError> {
        self.alive()?;
        let in_use = Use::begin(self);
        let connection = self.inner.readers.acquire().await.map_err(sql("be read"))?;
        Ok(Read { connection, _use: in_use })
    }

    pub(crate) async fn write(&self) -> Result<Write, StoreError> {
        self.alive()?;
        let in_use = Use::begin(self);
        let begun = self.inner.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut tx = begun.map_err(sql("be written to"))?;
        let asked = match &self.asked_by {
            Some(caller) => Some((caller.clone(), timeline::newest(&mut tx).await?)),
            None => None,
        };
        Ok(Write { tx, in_use, has_order_for: None, asked })
    }
}

fn newest_version() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}

type Version = (i64, &'static str, &'static str);

fn migrator(versions: &[Version]) -> Migrator {
    let one = |&(version, name, text): &Version| {
        let text = text.into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, text, false)
    };
    Migrator::with_migrations(versions.iter().map(one).collect())
}

/// The database at `path` as it was `versions` migrations after the first line was written.
#[cfg(test)]
pub(crate) async fn of_earlier_version(path: &Utf8Path, versions: usize) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    migrator(&MIGRATIONS[..versions]).run(&pool).await.unwrap();
    pool
}

/// Tells everybody who waits for changes, and the agent that waits for its order, when it goes.
struct Tell<'a>(&'a Store, Option<NodeId>);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        let Inner { changes, waiting, .. } = &*self.0.inner;
        changes.send_modify(|n| *n += 1);
        if let Some(node) = self.1 {
            waiting.wake(node);
        }
    }
}

/// Uses of the database by this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// How many read or write now, or wait for that.
    pub now: usize,
    /// How many there ever were.
    pub ever: u64,
}

/// One use of the database, from when it is waited for to when it is let go.
#[derive(Debug)]
struct Use(Store);

impl Use {
    fn begin(store: &Store) -> Self {
        store.inner.uses.send_modify(|uses| {
            uses.now += 1;
            uses.ever += 1;
        });
        Self(store.clone())
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.inner.uses.send_modify(|uses| uses.now -= 1);
    }
}

/// A connection that reads. Its fields go in this order.
#[derive(Debug)]
pub(crate) struct Read {
    connection: PoolConnection<Sqlite>,
    _use: Use,
}

impl Deref for Read {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Read {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// A transaction. Dropped without [`Write::commit`], it never was. Its fields go in this order.
#[derive(Debug)]
pub(crate) struct Write {
    tx: Transaction<'static, Sqlite>,
    in_use: Use,
    has_order_for: Option<NodeId>,
    /// Who asked for it, and the newest event before it.
    asked: Option<(Arc<Caller>, i64)>,
}

impl Write {
    /// The connection, for queries.
    pub(crate) fn sql(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }

    /// An order for an agent of `node` is in it.
    pub(crate) fn has_order_for(&mut self, node: NodeId) {
        self.has_order_for = Some(node);
    }

    /// Makes it durable and tells everybody who waits for changes.
    pub(crate) async fn commit(self, operation: &'static str) -> Result<(), StoreError> {
        let Self { mut tx, in_use, has_order_for, asked } = self;
        let store = &in_use.0;
        // Whatever becomes of this future: what it wrote may be durable, and somebody waits for it.
        let _tell = Tell(store, has_order_for);
        let after = {
            let mut halt = store.halt();
            if halt.halted {
                return Err(StoreError::Halted);
            }
            halt.writes += 1;
            let (plan, writes) = (halt.plan, halt.writes);
            halt.halted = matches!(plan, Some(Halt::Before(n) | Halt::After(n)) if n <= writes);
            if plan.is_some_and(|p| matches!(p, Halt::Before(_))) && halt.halted {
                return Err(StoreError::Halted);
            }
            halt.halted
        };
        if let Some((caller, before)) = asked {
            timeline::name_caller(&mut tx, &caller, before).await?;
        }
        tx.commit().await.map_err(sql(operation))?;
        if after { Err(StoreError::Halted) } else { Ok(()) }
    }
}
