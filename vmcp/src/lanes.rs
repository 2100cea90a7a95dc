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

use vmcp_core::limits::LANES;

static COUNT: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(1, |cores| cores.get().min(LANES)));

/// Threads of a lane that may block: for names that are looked up.
const BLOCKING: usize = 64;

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
    /// Most of them rest.
    connections: Arc<AtomicUsize>,
    /// Of connections that are served on all lanes.
    requests: Arc<AtomicUsize>,
}

/// A place on a lane, held by whoever is served there.
#[derive(Debug)]
pub struct Seat {
    runtime: Handle,
    taken: Option<Arc<AtomicUsize>>,
}

impl Lanes {
    /// One lane for each core that this process may use.
    ///
    /// # Errors
    /// When the system gives no thread or no poll.
    pub fn start() -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        // Those that were started end where a later one cannot be.
        let guard = stop.clone().drop_guard();
        let lanes: Result<_, _> = (1..=*COUNT).map(|number| start(number, &stop)).collect();
        Ok(Self(Arc::new(Inner {
            lanes: lanes?,
            _stop: Some(guard),
        })))
    }

    /// For a connection: where the fewest are.
    ///
    /// # Panics
    /// Without lanes and without a runtime.
    #[must_use]
    pub fn seat(&self) -> Seat {
        self.fewest(|lane| &lane.connections)
    }

    /// Tasks that run or wait on lanes.
    #[must_use]
    pub fn tasks(&self) -> usize {
        let lanes = self.0.lanes.iter();
        lanes
            .map(|lane| lane.runtime.metrics().num_alive_tasks())
            .sum()
    }

    fn fewest(&self, of: impl Fn(&Lane) -> &Arc<AtomicUsize>) -> Seat {
        let count = |lane: &&Lane| of(lane).load(Ordering::Relaxed);
        let Some(lane) = self.0.lanes.iter().min_by_key(count) else {
            return Seat {
                runtime: Handle::current(),
                taken: None,
            };
        };
        let taken = Arc::clone(of(lane));
        taken.fetch_add(1, Ordering::Relaxed);
        Seat {
            runtime: lane.runtime.clone(),
            taken: Some(taken),
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
        if let Some(taken) = &self.taken {
            taken.fetch_sub(1, Ordering::Relaxed);
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
        let seat = self.fewest(|lane| &lane.requests);
        let runtime = seat.runtime.clone();
        runtime.spawn(async move {
            future.await;
            drop(seat);
        });
    }
}

fn start(number: usize, stop: &CancellationToken) -> std::io::Result<Lane> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()?;
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
        connections: Arc::default(),
        requests: Arc::default(),
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

    /// A client's many requests on one connection run on all cores, however many connections rest.
    #[tokio::test]
    async fn requests_are_spread_whatever_rests_there() {
        let lanes = Lanes::start().unwrap();
        let count = places() - 1;
        // The first lane has all the connections that there are.
        let mut seats: Vec<_> = (0..8 * count).map(|_| lanes.seat()).collect();
        let mut first = Vec::new();
        for seat in seats.drain(..) {
            if where_it_runs(&seat).await == 1 {
                first.push(seat);
            }
        }
        assert_eq!(first.len(), 8);
        let (ran, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let (go, wait) = tokio::sync::watch::channel(false);
        for _ in 0..2 * count {
            let (ran, mut wait) = (ran.clone(), wait.clone());
            let request = async move {
                let _ = ran.send(here());
                let _ = wait.wait_for(|go| *go).await;
            };
            hyper::rt::Executor::execute(&lanes, request);
        }
        let mut on = vec![0; places()];
        for _ in 0..2 * count {
            on[seen.recv().await.unwrap()] += 1;
        }
        go.send_replace(true);

        assert_eq!(on[0], 0);
        assert!(on[1..].iter().all(|on| *on == 2), "{on:?}");
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
        assert!(lanes.tasks() > 0);
        drop((lanes, seat));

        let ended = async {
            while weak.upgrade().is_some() {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(10);
        tokio::time::timeout(limit, ended).await.unwrap();
    }
}
