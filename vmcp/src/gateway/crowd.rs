//! Room for one more session where there is none.
//!
//! Owns who leaves: the sessions that nobody has used for longest. A client is refused only where
//! all of them are in use. Nothing is lost but state at backends: an id carries its own claims and
//! comes back to life with the next request, while a refused client cannot work at all.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use vmcp_core::limits;

use super::live::Live;
use crate::table::Table;

/// So many leave at a time that the search for them costs each newcomer little.
const LEAVING: usize = limits::MAX_SESSIONS / 20;

/// Sessions that had to leave and whose upstream state is to be ended.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    gone: Mutex<Vec<Arc<Live>>>,
    any: Notify,
}

impl Crowd {
    /// Makes room in the table. `false`: all sessions are in use.
    pub(super) fn make_room(&self, live: &mut Table<Arc<str>, Arc<Live>>) -> bool {
        if live.len() < limits::MAX_SESSIONS {
            return true;
        }
        let unused = live.values().filter(|session| !session.is_busy());
        let mut unused: Vec<_> = unused
            .map(|session| (session.last_used(), Arc::clone(&session.id)))
            .collect();
        let leaving = LEAVING.min(unused.len());
        if leaving == 0 {
            return false;
        }
        unused.select_nth_unstable(leaving - 1);
        unused.truncate(leaving);
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, id) in unused {
            if let Some(session) = live.remove(&id) {
                session.end();
                gone.push(session);
            }
        }
        drop(gone);
        self.any.notify_one();
        true
    }

    /// Resolves when sessions had to leave.
    pub(super) async fn changed(&self) {
        self.any.notified().await;
    }

    pub(super) fn take(&self) -> Vec<Arc<Live>> {
        std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
