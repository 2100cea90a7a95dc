//! A reader never meets half a snapshot.

use super::*;

struct NoRuntime;

impl Runtime for NoRuntime {
    fn apply(&mut self, _effect: Effect) {}
}

/// Every part of a snapshot speaks of the same backends.
fn is_whole(snapshot: &Snapshot) -> Result<(), String> {
    let names: Vec<String> = names(snapshot);
    let lists = &snapshot.lists;
    for (tool, route) in lists.routes.iter(Kind::Tools) {
        let view = snapshot.backend(&route.backend.name);
        if view.is_none_or(|view| view.id != route.backend) {
            return Err(format!(
                "{tool} leads to {}, there is {names:?}",
                route.backend
            ));
        }
    }
    if snapshot.by_name.len() != names.len() || snapshot.report.backend_count != names.len() {
        return Err(format!(
            "{} indexed, {} reported",
            snapshot.by_name.len(),
            names.len()
        ));
    }
    let listed = String::from_utf8_lossy(&lists.tools.legacy[0])
        .matches("\"name\":")
        .count();
    if listed != lists.tool_count || lists.routes.len(Kind::Tools) != lists.tool_count {
        return Err(format!("{listed} listed, {} counted", lists.tool_count));
    }
    for view in snapshot.backends.iter() {
        let entry = snapshot
            .report
            .discovered_backends
            .iter()
            .find(|e| e.name == *view.id.name.0);
        if entry.is_none_or(|entry| entry.state != view.observed.state) {
            return Err(format!("{} is reported otherwise than shown", view.id));
        }
    }
    Ok(())
}

/// A number that looks random and is the same in each run.
fn scatter(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Some of five backends, of one or another life.
fn some_backends(seed: &mut u64) -> Vec<DesiredBackend> {
    let all = ["a", "b", "c", "d", "e"];
    let chosen = all.into_iter().filter(|_| scatter(seed).is_multiple_of(2));
    let mut backends: Vec<DesiredBackend> = chosen.map(backend).collect();
    for backend in &mut backends {
        if scatter(seed).is_multiple_of(3) {
            let life = scatter(seed) % 2;
            backend.id = BackendId::new(&backend.id.name.0, &format!("life-{life}"));
        }
    }
    backends
}

fn some_probe(seed: &mut u64, snapshot: &Snapshot) -> Option<Event> {
    let count = u64::try_from(snapshot.backends.len()).unwrap();
    let at = usize::try_from(scatter(seed).checked_rem(count)?).unwrap();
    let view = &snapshot.backends[at];
    let well = !scatter(seed).is_multiple_of(3);
    Some(Event::Probed(Box::new(Probed {
        id: view.id.clone(),
        generation: view.generation,
        outcome: if well { healthy() } else { refused() },
        catalog: well.then(|| {
            catalog(if scatter(seed).is_multiple_of(2) {
                &["x"]
            } else {
                &["x", "y"]
            })
        }),
        durations: Durations::default(),
    })))
}

/// R4.6: after any sequence of events every part of the snapshot agrees with every other.
#[test]
fn after_any_sequence_of_events_the_snapshot_is_whole() {
    let mut seed = 7;
    let mut world = World::new();
    for step in 0..5_000 {
        world.advance(scatter(&mut seed) % 20);
        let snapshot = world.snapshot();
        is_whole(&snapshot).unwrap_or_else(|fault| panic!("step {step}: {fault}"));
        let event = match scatter(&mut seed) % 4 {
            0 => Some(Event::Discovered(Box::new(desired(&some_backends(
                &mut seed,
            ))))),
            _ => some_probe(&mut seed, &snapshot),
        };
        if let Some(event) = event {
            world.step(event);
        }
        world.effects.clear();
    }
}

/// R4.6: readers on other threads see whole snapshots only, and revisions that only grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_on_other_threads_see_whole_snapshots_only() {
    let (registry, doors) = Registry::new(Clock::start());
    let cancel = CancellationToken::new();
    tokio::spawn(registry.run(NoRuntime, cancel.clone()));
    let reading = doors.snapshots.clone();
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        let mut seen = 0_u32;
        while last < 300 {
            let snapshot = reading.load();
            is_whole(&snapshot).unwrap();
            assert!(snapshot.revision >= last, "revisions only grow");
            seen += u32::from(snapshot.revision > last);
            last = snapshot.revision;
        }
        seen
    });

    let mut seed = 11;
    while !reader.is_finished() {
        let snapshot = doors.snapshots.load();
        let event = match scatter(&mut seed) % 4 {
            0 => Some(Event::Discovered(Box::new(desired(&some_backends(
                &mut seed,
            ))))),
            _ => some_probe(&mut seed, &snapshot),
        };
        if let Some(event) = event {
            doors.events.send(event).await.unwrap();
        }
        tokio::task::yield_now().await;
    }

    assert!(reader.join().unwrap() > 10, "the reader saw many of them");
    cancel.cancel();
}
