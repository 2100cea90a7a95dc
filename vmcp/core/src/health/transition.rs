//! Changes of state, and the last of them.

use std::collections::VecDeque;

use super::{ProbeReason, State};
use crate::limits;
use crate::time::Tick;

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub from: State,
    pub to: State,
    pub reason: Option<ProbeReason>,
    pub message: String,
    pub at: Tick,
}

/// The last [`limits::TRANSITIONS`] transitions of a backend, oldest first (R1.13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    kept: VecDeque<Transition>,
}

impl History {
    pub fn push(&mut self, transition: Transition) {
        if self.kept.len() == limits::TRANSITIONS {
            self.kept.pop_front();
        }
        self.kept.push_back(transition);
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Transition> + ExactSizeIterator {
        self.kept.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}
