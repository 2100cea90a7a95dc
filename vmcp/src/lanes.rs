//! Threads that serve clients, one for each core, each with a runtime of its own (ADR 0014).
//!
//! Owns how many there are and which of them a connection goes to. What begins on a lane stays there:
//! its socket, its calls and their connections to backends are woken by the thread that works on
//! them, and no other has to be. Knows nothing of HTTP.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{self, available_parallelism};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Of a machine with more cores, the rest is left to others.
const MOST: usize = 64;

static COUNT: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(1, |cores| cores.get().min(MOST)));

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// How many different [`here`] can be.
#[must_use]
pub fn places() -> usize {
    *COUNT + 1
}

/// Which lane this thread serves, from 1; 0 is every other thread.
#[must_use]
pub fn here() -> usize {
    HERE.get()
}

/// The lanes of a process. Without any, everything runs where it begins.
#[derive(Clone, Debug, Default)]
pub struct Lanes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lanes: Box<[Lane]>,
    /// Ends the threads with the last clone.
    _stop: Option<DropGuard>,
}

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    busy: Arc<AtomicUsize>,
}

/// A place on a lane, held by whoever is served there.
#[derive(Debug)]
pub struct Seat {
    runtime: Handle,
    busy: Option<Arc<AtomicUsize>>,
}

impl Lanes {
    /// One lane for each core that this process may use.
    ///
    /// # Errors
    /// When the system gives no thread or no poll.
    pub fn start() -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let lanes: Result<_, _> = (1..=*COUNT).map(|number| start(number, &stop)).collect();
        Ok(Self(Arc::new(Inner {
            lanes: lanes?,
            _stop: Some(stop.drop_guard()),
        })))
    }

    /// A place where the fewest are served.
    ///
    /// # Panics
    /// Without lanes and without a runtime.
    #[must_use]
    pub fn seat(&self) -> Seat {
        let load = |lane: &&Lane| lane.busy.load(Ordering::Relaxed);
        let Some(lane) = self.0.lanes.iter().min_by_key(load) else {
            return Seat {
                runtime: Handle::current(),
                busy: None,
            };
        };
        lane.busy.fetch_add(1, Ordering::Relaxed);
        Seat {
            runtime: lane.runtime.clone(),
            busy: Some(Arc::clone(&lane.busy)),
        }
    }
}

impl Seat {
    /// Where to spawn what holds this.
    #[must_use]
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(busy) = &self.busy {
            busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Many requests of one connection may be served on all lanes.
impl<F> hyper::rt::Executor<F> for Lanes
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let seat = self.seat();
        let runtime = seat.runtime.clone();
        runtime.spawn(async move {
            future.await;
            drop(seat);
        });
    }
}

fn start(number: usize, stop: &CancellationToken) -> std::io::Result<Lane> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let stop = stop.clone();
    thread::Builder::new()
        .name(format!("lane-{number}"))
        .spawn(move || {
            HERE.set(number);
            runtime.block_on(stop.cancelled());
            // Waits for nobody: whoever ends us has waited.
            runtime.shutdown_background();
        })?;
    Ok(Lane {
        runtime: handle,
        busy: Arc::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn where_it_runs(seat: &Seat) -> usize {
        seat.runtime().spawn(async { here() }).await.unwrap()
    }

    #[tokio::test]
    async fn those_who_come_are_spread_evenly_and_leave_room() {
        let lanes = Lanes::start().unwrap();
        let count = places() - 1;
        let mut seats = Vec::new();
        let mut seen = vec![0; places()];
        for _ in 0..2 * count {
            let seat = lanes.seat();
            seen[where_it_runs(&seat).await] += 1;
            seats.push(seat);
        }
        assert_eq!(seen[0], 0, "nobody runs outside of the lanes");
        assert!(seen[1..].iter().all(|on| *on == 2), "{seen:?}");

        let left = seats.remove(0);
        let free = where_it_runs(&left).await;
        drop(left);

        assert_eq!(where_it_runs(&lanes.seat()).await, free);
    }

    #[tokio::test]
    async fn without_lanes_everything_runs_where_it_begins() {
        let seat = Lanes::default().seat();

        assert_eq!(where_it_runs(&seat).await, here());
        assert_eq!(here(), 0);
    }

    #[tokio::test]
    async fn the_threads_end_with_the_last_who_knows_them() {
        let lanes = Lanes::start().unwrap();
        let held = Arc::new(());
        let (weak, seat) = (Arc::downgrade(&held), lanes.seat());
        seat.runtime().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert_eq!(where_it_runs(&seat).await, 1);
        drop((lanes, seat));

        while weak.upgrade().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
