//! Who is told in which order, and how long it takes, on paused time.

use std::collections::VecDeque;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::DropGuard;

use vmcp_core::health::{Machine, Policy};
use vmcp_core::time::Tick;

use super::*;
use crate::registry::Registry;
use crate::snapshot::{BackendView, Lists};

/// A question that was asked, and how long after the start.
type Asked = (&'static str, Duration);

/// What is answered, and after how long.
type Said = (Duration, Vec<bool>);

/// Other replicas that answer as a test says: after that time, and these.
#[derive(Clone)]
struct Script {
    started: Instant,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<VecDeque<Said>>>,
    /// What they answer then.
    rest: Vec<bool>,
}

impl Script {
    fn new(answers: &[(Duration, &[bool])], rest: &[bool]) -> Self {
        let answers = answers.iter().map(|(after, said)| (*after, said.to_vec()));
        Self {
            started: Instant::now(),
            asked: Arc::default(),
            answers: Arc::new(Mutex::new(answers.collect())),
            rest: rest.to_vec(),
        }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Others for Script {
    fn ask(&self, path: &'static str, _word: Bytes) -> BoxFuture<'_, Answers> {
        let asked = (path, self.started.elapsed());
        self.asked.lock().unwrap().push(asked);
        let next = self.answers.lock().unwrap().pop_front();
        let (after, said) = next.unwrap_or((Duration::ZERO, self.rest.clone()));
        Box::pin(async move {
            sleep(after).await;
            let named = said.into_iter().enumerate();
            named
                .map(|(at, agrees)| (at.to_string().into(), agrees))
                .collect()
        })
    }
}

/// One replica, without its registry.
struct World {
    herald: Arc<Herald>,
    current: Arc<ArcSwap<Snapshot>>,
    changed: watch::Sender<u64>,
    cues: watch::Receiver<Cue>,
    refreshed: Arc<Mutex<Vec<BackendId>>>,
    meter: Arc<PeerMeter>,
    _stop: DropGuard,
}

impl World {
    async fn new(others: Script) -> Self {
        let clock = Clock::start();
        let first = showing("1", 1);
        let current = Arc::new(ArcSwap::new(Arc::clone(&first)));
        let (changed, reader) = watch::channel(1);
        let snapshots = SnapshotReader {
            current: Arc::clone(&current),
            changed: reader,
        };
        let refreshed = Arc::new(Mutex::new(Vec::new()));
        let looks = Arc::clone(&refreshed);
        let refresh: Refresh = Box::new(move |id, _| {
            looks.lock().unwrap().push(id.clone());
            true
        });
        let meter = Arc::new(PeerMeter::default());
        let herald = Herald::new(snapshots, clock, refresh, Arc::clone(&meter));
        let herald = Arc::new(herald);
        let (sender, cues) = watch::channel(Cue::new(first));
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&herald).run(others, sender, stop.clone()));
        let mut world = Self {
            herald,
            current,
            changed,
            cues,
            refreshed,
            meter,
            _stop: stop.drop_guard(),
        };
        world.cue().await;
        world
    }

    fn publish(&self, list: &str) {
        let revision = *self.changed.borrow() + 1;
        self.current.store(showing(list, revision));
        self.changed.send_replace(revision);
    }

    /// The next cue, and how long it was in coming.
    async fn cue(&mut self) -> (Cue, Duration) {
        let started = Instant::now();
        self.cues.changed().await.unwrap();
        (self.cues.borrow_and_update().clone(), started.elapsed())
    }
}

/// A snapshot with one backend of this list.
fn showing(list: &str, revision: u64) -> Arc<Snapshot> {
    let (_registry, doors) = Registry::new(Clock::start());
    let mut snapshot = (*doors.snapshots.load()).clone();
    let hash = CatalogHash::of([(list, "{}")]);
    let view = BackendView {
        id: BackendId::new("a", "uid-a"),
        generation: Generation(1),
        endpoint: None,
        target: None,
        policy: Policy::default(),
        observed: Machine::new(Generation(1), Tick(0)).observed().clone(),
        dialect: None,
        tools: 1,
        catalog_hash: Some(hash),
        catalog: None,
        fails_fast: false,
        next_probe_in: Duration::ZERO,
        history: [].into(),
        meter: Arc::default(),
    };
    let mut hashes = snapshot.lists.hashes;
    hashes.tools = hash;
    let lists = (*snapshot.lists).clone();
    snapshot.lists = Arc::new(Lists { hashes, ..lists });
    snapshot.by_name = Arc::new([(view.id.name.clone(), 0)].into());
    snapshot.backends = [view.into()].into();
    snapshot.first_round_done = true;
    snapshot.revision = revision;
    Arc::new(snapshot)
}

/// mcp.md: peers first, then clients, and again when the last one agrees.
#[tokio::test(start_paused = true)]
async fn clients_are_told_after_the_others_and_again_when_all_show_it() {
    const WAY: Duration = Duration::from_millis(30);
    let others = Script::new(
        &[(WAY, &[false, true]), (WAY, &[false, true])],
        &[true, true],
    );
    let mut world = World::new(others.clone()).await;
    assert!(others.asked().is_empty(), "the first list is no news");

    world.publish("2");
    let (first, waited) = world.cue().await;
    assert_eq!((first.told.revision, first.agreed), (2, 0));
    assert_eq!(first.before.unwrap().revision, 1);
    assert_eq!(waited, WAY, "no longer than the others take to answer");

    let (again, waited) = world.cue().await;
    assert_eq!((again.told.revision, again.agreed), (2, 1));
    assert!(again.before.is_none());
    assert_eq!(waited, limits::AGREE_EVERY * 2 + WAY);
    let paths: Vec<_> = others.asked().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [CHANGED, AGREE, AGREE]);
    assert_eq!(world.meter.agreed.load(Ordering::Relaxed), 1);
}

/// News may have found no room: it is said again, and not each time.
#[tokio::test(start_paused = true)]
async fn news_is_said_again_while_it_is_not_agreed_on() {
    let others = Script::new(&[], &[false]);
    let mut world = World::new(others.clone()).await;
    world.publish("2");
    world.cue().await;
    world.cue().await;

    let asked = others.asked();
    let news: Vec<_> = asked.iter().filter(|(path, _)| *path == CHANGED).collect();
    assert!((4..=6).contains(&news.len()), "{asked:?}");
    assert!(asked.len() > 40);
    for pair in news.windows(2) {
        assert!(pair[1].1 - pair[0].1 >= AGAIN);
    }
}

/// R4.8: whatever the others do, clients are told, and nobody is asked for ever.
#[tokio::test(start_paused = true)]
async fn nothing_is_waited_for_longer_than_its_time() {
    let others = Script::new(&[(limits::PEER_ASK, &[false])], &[false]);
    let mut world = World::new(others.clone()).await;
    world.publish("2");
    let (told, first) = world.cue().await;
    assert_eq!((told.told.revision, first), (2, limits::PEER_ASK));

    let (given_up, rest) = world.cue().await;
    assert_eq!(given_up.agreed, 0);
    assert!(given_up.before.is_none());
    assert!(first + rest <= limits::AGREE_WITHIN + limits::AGREE_EVERY);
    let asked = others.asked().len();
    advance(limits::AGREE_WITHIN * 2).await;
    assert_eq!(others.asked().len(), asked);
    assert_eq!(world.meter.given_up.load(Ordering::Relaxed), 1);

    let never = Script::new(&[(Duration::MAX, &[])], &[]);
    let mut world = World::new(never).await;
    world.publish("2");
    let (told, waited) = world.cue().await;
    assert_eq!((told.told.revision, waited), (2, limits::AGREE_WITHIN));
}

/// With nobody to ask, and where no list changed, clients wait for nothing.
#[tokio::test(start_paused = true)]
async fn without_others_or_without_a_change_nothing_is_asked_and_nothing_waits() {
    let others = Script::new(&[(limits::PEER_ASK, &[true])], &[]);
    let mut world = World::new(others.clone()).await;
    world.publish("1");
    let (same, waited) = world.cue().await;
    assert_eq!((same.told.revision, waited), (2, Duration::ZERO));
    assert!(others.asked().is_empty());

    let mut alone = World::new(Script::new(&[], &[])).await;
    alone.publish("2");
    let (told, waited) = alone.cue().await;
    assert_eq!((told.told.revision, waited), (2, Duration::ZERO));
    assert!(told.before.is_none());
    assert_eq!(alone.meter.agreed.load(Ordering::Relaxed), 0);
}

/// A change while it is open: publications of health come and go, a new list begins anew.
#[tokio::test(start_paused = true)]
async fn what_is_published_in_between_ends_nothing_and_is_not_held_up() {
    let others = Script::new(&[(Duration::ZERO, &[false])], &[false]);
    let mut world = World::new(others).await;
    world.publish("2");
    let (open, _) = world.cue().await;
    assert_eq!(open.before.unwrap().revision, 1);

    for _ in 0..10 {
        sleep(limits::AGREE_EVERY / 2).await;
        world.publish("2");
        let (cue, waited) = world.cue().await;
        assert_eq!(waited, Duration::ZERO);
        assert_eq!(cue.before.unwrap().revision, 1);
    }
    world.publish("3");
    let (newer, _) = world.cue().await;
    assert_eq!(
        newer.before.unwrap().revision,
        1,
        "the last that all showed"
    );
    let (given_up, _) = world.cue().await;
    assert!(given_up.before.is_none() && given_up.agreed == 0);
}

/// R4.11: what another replica has seen is looked at here as if the backend had said it.
#[tokio::test(start_paused = true)]
async fn news_of_another_replica_is_looked_at_and_a_question_is_not() {
    let others = Script::new(&[], &[true]);
    let mut world = World::new(others.clone()).await;
    let mut there = Accord::default();
    there.published(shown(&showing("1", 1)), Tick(0));
    let word = there.published(shown(&showing("2", 2)), Tick(0)).unwrap();
    let word = serde_json::to_vec(&word).unwrap();
    let looks = |world: &World| world.refreshed.lock().unwrap().len();

    assert_eq!(world.herald.compare(&word).unwrap(), b"false");
    assert_eq!(looks(&world), 0);
    assert_eq!(world.herald.hear(&word).unwrap(), b"false");
    assert_eq!(looks(&world), 1);

    world.publish("2");
    let (cue, _) = world.cue().await;
    assert_eq!((cue.told.revision, cue.agreed), (2, 1), "told once");
    assert_eq!(others.asked()[0].0, AGREE, "and not told back");
    assert_eq!(world.herald.hear(&word).unwrap(), b"true");
    assert_eq!(looks(&world), 1);
    assert!(world.herald.hear(b"{").is_none());
}
