//! What this daemon should do and cannot: each part that could not be opened, with the reason. It is
//! on the timeline when it begins and when it is over, and in `undercloud status` in between.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use undercloud_api::{ApiError, admin::Trouble};
use undercloud_model::timeline::Part;
use undercloud_store::Store;

use crate::clock;

/// The troubles of now, by part.
#[derive(Debug)]
pub(crate) struct Troubles {
    store: Store,
    open: Mutex<BTreeMap<String, Trouble>>,
}

impl Troubles {
    /// None yet.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, open: Mutex::default() }
    }

    /// All, by part.
    pub(crate) fn list(&self) -> Vec<Trouble> {
        self.open().values().cloned().collect()
    }

    /// The trouble of one part.
    pub(crate) fn of(&self, part: &str) -> Option<Trouble> {
        self.open().get(part).cloned()
    }

    /// What became of a part: its trouble begins, changes or ends. The same again is no news.
    pub(crate) async fn note(&self, part: &str, outcome: Result<(), &ApiError>) {
        let event = match outcome {
            Ok(()) => self.open().remove(part).map(|_| {
                tracing::info!(part, "a trouble is over");
                Part::TroubleOver { part: part.to_owned() }
            }),
            Err(error) => self.begin(part, error).then(|| {
                let message = &error.message;
                tracing::error!(part, message, "a part of the daemon does not work");
                Part::Trouble { part: part.to_owned(), why: message.clone() }
            }),
        };
        let Some(event) = event else { return };
        if let Err(error) = self.store.record(None, &event.into(), clock::now_ms()).await {
            tracing::error!(%error, "a trouble is not on the timeline");
        }
    }

    /// A part that there is no longer has none.
    pub(crate) fn forget(&self, part: &str) {
        self.open().remove(part);
    }

    /// Whether it is news.
    fn begin(&self, part: &str, error: &ApiError) -> bool {
        let mut open = self.open();
        if open.get(part).is_some_and(|trouble| trouble.message == error.message) {
            return false;
        }
        let trouble = Trouble {
            part: part.to_owned(),
            since: clock::now_ms(),
            message: error.message.clone(),
            hint: error.hint.clone(),
            machine: None,
            service: None,
            is_absent: false,
            said: Vec::new(),
        };
        open.insert(part.to_owned(), trouble);
        true
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Trouble>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
