//! The registry's state, one step at a time.
//!
//! Owns the slots and the newest desired state. Pure but for logging: an event goes in with its
//! moment, effects come out, and what readers may see is collected until it is published. Never
//! waits, never connects, never knows a socket.

use std::collections::HashMap;
use std::sync::Arc;

use vmcp_core::id::{BackendId, Generation};
use vmcp_core::time::Tick;

use super::event::{Cause, Effect, Event};
use super::publish::Publication;
use super::slot::Slot;
use super::step::{Dirty, Moment};
use crate::discovery::desired::{Desired, DesiredBackend};
use crate::gateway::port::Observation;
use crate::shelf::{ShelfKey, Stock};
use crate::snapshot::{ConfigState, Snapshot};

/// All backends of one gateway.
#[derive(Debug)]
pub struct State {
    pub(super) desired: Option<Arc<Desired>>,
    pub(super) config: ConfigState,
    /// In the order of the spec.
    pub(super) slots: Vec<Slot>,
    places: HashMap<BackendId, usize>,
    /// Over all slots, so that even a backend that comes back never meets its old number (R4.2).
    last_generation: u64,
    pub(super) first_round_done: bool,
    dirty: Dirty,
    publication: Publication,
    /// Lists from before the start, for the backends of the first desired state.
    stock: Stock,
}

impl State {
    /// Nothing known yet.
    #[must_use]
    pub fn new(publication: Publication) -> Self {
        Self {
            desired: None,
            config: ConfigState::default(),
            slots: Vec::new(),
            places: HashMap::new(),
            last_generation: 0,
            first_round_done: false,
            dirty: Dirty {
                view: true,
                catalog: true,
            },
            publication,
            stock: Stock::new(),
        }
    }

    /// Lays in lists from before the start.
    pub fn stock(&mut self, stock: Stock) {
        self.stock = stock;
    }

    /// Takes one event.
    pub fn step(&mut self, event: Event, moment: Moment, effects: &mut Vec<Effect>) {
        match event {
            Event::Discovered(desired) => self.discovered(*desired, moment, effects),
            Event::Rejected { message } => self.rejected(message),
            Event::Probed(probed) => {
                let id = probed.id.clone();
                self.on_slot(&id, |slot| slot.probed(*probed, moment, effects));
            }
            Event::WakeService { service } => {
                for slot in &mut self.slots {
                    if slot.desired.service.as_ref() == Some(&service) {
                        slot.wake(moment, effects);
                    }
                }
            }
            Event::ListChanged { id, generation } => self.on_slot(&id, |slot| {
                slot.list_changed(generation, moment, effects);
                Dirty::default()
            }),
        }
    }

    /// Takes what traffic saw.
    pub fn observe(&mut self, seen: &Observation, moment: Moment, effects: &mut Vec<Effect>) {
        self.on_slot(&seen.id, |slot| {
            slot.called(seen.generation, &seen.outcome, moment, effects)
        });
    }

    /// The next moment at which something changes although nothing happens.
    #[must_use]
    pub fn deadline(&self, now: Tick) -> Option<Tick> {
        let hides = self.slots.iter().filter_map(|slot| slot.hides_at(now));
        let waits = !self.first_round_done && self.desired.is_some();
        let judged = waits.then(|| {
            self.slots
                .iter()
                .filter(|slot| !slot.judged(now))
                .map(Slot::judged_by)
                .min()
        });
        hides.chain(judged.flatten()).min()
    }

    /// A new snapshot, where readers would see a difference.
    pub fn publish(&mut self, now: Tick) -> Option<Snapshot> {
        self.judge_round(now);
        (self.dirty != Dirty::default()).then(|| self.snapshot(now))
    }

    /// A new snapshot in any case.
    pub fn snapshot(&mut self, now: Tick) -> Snapshot {
        self.judge_round(now);
        let dirty = std::mem::take(&mut self.dirty);
        let mut publication = std::mem::take(&mut self.publication);
        let snapshot = publication.build(self, dirty, now);
        self.publication = publication;
        snapshot
    }

    /// A deadline has passed: what depends on time alone is looked at again.
    pub fn touch(&mut self) {
        self.dirty = Dirty {
            view: true,
            catalog: true,
        };
    }

    /// Ends every runtime.
    pub fn close(&mut self, effects: &mut Vec<Effect>) {
        for slot in self.slots.drain(..) {
            detach(&slot, effects);
        }
        self.places.clear();
    }

    fn discovered(&mut self, desired: Desired, moment: Moment, effects: &mut Vec<Effect>) {
        let mut old: HashMap<BackendId, Slot> = self
            .slots
            .drain(..)
            .map(|slot| (slot.id().clone(), slot))
            .collect();
        let mut slots = Vec::with_capacity(desired.backends.len());
        for backend in &desired.backends {
            let slot = match old.remove(&backend.id) {
                Some(mut slot) => {
                    let fresh = self.next_generation();
                    let dirty = slot.configure(backend.clone(), fresh, moment, effects);
                    self.dirty.merge(dirty);
                    slot
                }
                None => self.add(backend, moment, effects),
            };
            slots.push(slot);
        }
        // What comes later is new, whatever it is called.
        self.stock.clear();
        for slot in old.values() {
            tracing::info!(backend = %slot.id().name, uid = %slot.id().uid.0, "backend removed");
            detach(slot, effects);
        }
        if self.config.error.is_some() {
            tracing::info!("configuration is valid again");
        }
        self.places = slots
            .iter()
            .enumerate()
            .map(|(at, slot)| (slot.id().clone(), at))
            .collect();
        self.slots = slots;
        self.config = ConfigState::default();
        self.desired = Some(Arc::new(desired));
        self.dirty = Dirty {
            view: true,
            catalog: true,
        };
    }

    fn add(&mut self, backend: &DesiredBackend, moment: Moment, effects: &mut Vec<Effect>) -> Slot {
        tracing::info!(backend = %backend.id.name, uid = %backend.id.uid.0, "backend added");
        let generation = self.next_generation();
        let mut slot = Slot::new(backend.clone(), generation, moment, effects);
        slot.catalog = backend.target.as_ref().ok().and_then(|endpoint| {
            self.stock.remove(&ShelfKey {
                uid: backend.id.uid.clone(),
                url: endpoint.url.as_str().into(),
            })
        });
        slot
    }

    fn rejected(&mut self, message: String) {
        tracing::error!(
            error = message,
            "configuration refused, the last good one stays"
        );
        self.config = ConfigState {
            error: Some(message.into()),
        };
        self.dirty.view = true;
    }

    fn on_slot(&mut self, id: &BackendId, act: impl FnOnce(&mut Slot) -> Dirty) {
        if let Some(slot) = self.places.get(id).and_then(|at| self.slots.get_mut(*at)) {
            self.dirty.merge(act(slot));
        }
    }

    /// Once done, the first round stays done: later backends do not make the gateway unready.
    fn judge_round(&mut self, now: Tick) {
        if !self.first_round_done && self.desired.is_some() {
            self.first_round_done = self.slots.iter().all(|slot| slot.judged(now));
            self.dirty.view |= self.first_round_done;
        }
    }

    fn next_generation(&mut self) -> Generation {
        self.last_generation += 1;
        Generation(self.last_generation)
    }
}

fn detach(slot: &Slot, effects: &mut Vec<Effect>) {
    if !slot.blocked() {
        effects.push(Effect::Detach {
            id: slot.id().clone(),
            generation: slot.generation,
            cause: Cause::Removed,
        });
    }
}
