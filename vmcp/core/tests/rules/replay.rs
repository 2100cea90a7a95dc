//! Streams that a client may lose and take up again.

use proptest::prelude::*;
use vmcp_core::limits;
use vmcp_core::replay::{EventId, Keeps, Log, Next, Reading, ResumeError};
use vmcp_core::time::Tick;

use crate::support::{SOME, cases};

const NOW: Tick = Tick(1_000_000);

#[derive(Clone, Debug)]
enum Step {
    /// The server says so many things.
    Say(u64),
    /// The client reads so many.
    Read(usize),
    /// So many are handed to the connection, and it breaks before they arrive.
    Lose(usize),
    /// The connection breaks.
    Break,
    /// The client comes back.
    Resume,
}

fn steps(most: u64) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..=most).prop_map(Step::Say),
        4 => (0_usize..8).prop_map(Step::Read),
        1 => (0_usize..8).prop_map(Step::Lose),
        1 => Just(Step::Break),
        3 => Just(Step::Resume),
    ];
    proptest::collection::vec(step, 0..40)
}

/// One client of one stream, which is told 1, 2, 3 and so on.
struct Client {
    log: Log<u64>,
    reading: Reading,
    connected: bool,
    said: u64,
    seen: Vec<u64>,
    last: String,
    /// Something was dropped, and the client was told so.
    told_of_loss: bool,
}

impl Client {
    fn new() -> Self {
        let mut log = Log::new(7, Keeps::Read);
        let reading = log.open(NOW);
        let beginning = EventId {
            log: 7,
            stream: reading.stream,
            seq: 0,
        };
        Self {
            log,
            reading,
            connected: true,
            said: 0,
            seen: Vec::new(),
            last: beginning.to_string(),
            told_of_loss: false,
        }
    }

    fn say(&mut self) {
        self.said += 1;
        assert!(self.log.push(self.reading.stream, self.said, 10, NOW));
    }

    /// `false` where the connection has nothing more.
    fn read(&mut self) -> bool {
        match self.log.next(self.reading) {
            Next::Event(id, item) => {
                self.seen.push(item);
                self.last = id.to_string();
                true
            }
            Next::Pending => false,
            Next::End => {
                self.connected = false;
                false
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Say(times) => (0..*times).for_each(|_| self.say()),
            Step::Read(times) if self.connected => {
                (0..*times).take_while(|_| self.read()).for_each(drop);
            }
            Step::Lose(times) if self.connected => {
                for _ in 0..*times {
                    let _ = self.log.next(self.reading);
                }
                self.leave();
            }
            Step::Break if self.connected => self.leave(),
            Step::Resume => self.resume(),
            Step::Read(_) | Step::Lose(_) | Step::Break => {}
        }
    }

    fn leave(&mut self) {
        self.log.leave(self.reading, NOW);
        self.connected = false;
    }

    fn resume(&mut self) {
        match self.log.resume(&self.last) {
            Ok(reading) => {
                self.reading = reading;
                self.connected = true;
            }
            Err(ResumeError::Lost { lost, resume_at }) => {
                let last = EventId::parse(&self.last).unwrap();
                assert_eq!(resume_at.seq, last.seq + lost);
                self.told_of_loss = true;
                self.connected = false;
            }
            Err(ResumeError::Unknown) => unreachable!("a stream that goes on is known"),
        }
    }

    /// To the end, coming back as often as needed.
    fn finish(&mut self) {
        self.log.end(self.reading.stream);
        while !self.told_of_loss && self.seen.len() < usize::try_from(self.said).unwrap() {
            self.resume();
            while self.connected && self.read() {}
        }
    }
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// R4.6: whatever breaks when, every message is seen once and in order.
    #[test]
    fn a_client_sees_every_message_once_and_in_order(steps in steps(6)) {
        let mut client = Client::new();

        steps.iter().for_each(|step| client.take(step));
        client.finish();

        prop_assert!(!client.told_of_loss, "fewer than are kept were said");
        prop_assert_eq!(client.seen, (1..=client.said).collect::<Vec<_>>());
    }

    /// More than is kept: the client is told, or misses nothing; what is held stays bounded.
    #[test]
    fn a_gap_is_told_and_what_is_held_is_bounded(steps in steps(300)) {
        let mut client = Client::new();

        for step in &steps {
            client.take(step);
            let (events, bytes) = client.log.held();
            prop_assert!(events <= limits::REPLAY_EVENTS + limits::REPLAY_UNREAD_EVENTS);
            prop_assert!(bytes <= limits::REPLAY_BYTES + limits::REPLAY_UNREAD_BYTES);
        }
        client.finish();

        let told = u64::try_from(client.seen.len()).unwrap();
        prop_assert_eq!(&client.seen, &(1..=told).collect::<Vec<_>>());
        prop_assert!(client.told_of_loss || told == client.said);
    }

    /// Hostile ids are refused, never a panic, and what is read is written the same way.
    #[test]
    fn hostile_ids_are_refused_or_read(text in prop_oneof![".{0,40}", "[0-9a-f-]{0,70}", "7-0-[0-9+]{1,3}"]) {
        if let Some(id) = EventId::parse(&text) {
            prop_assert_eq!(id.to_string(), &*text);
        }
        let mut log = Log::new(7, Keeps::Read);
        let reading = log.open(NOW);
        log.push(reading.stream, 1, 1, NOW);

        prop_assert!(log.resume(&text).is_err() || text == "7-0-0");
    }
}

fn last(reading: Reading, seq: u64) -> String {
    let id = EventId {
        log: 7,
        stream: reading.stream,
        seq,
    };
    id.to_string()
}

fn items<T: Clone>(log: &mut Log<T>, reading: Reading) -> Vec<T> {
    std::iter::from_fn(|| match log.next(reading) {
        Next::Event(_, item) => Some(item),
        Next::Pending | Next::End => None,
    })
    .collect()
}

/// The response of a call outlives the notifications of every other one.
#[test]
fn a_response_is_kept_before_notifications() {
    let mut log = Log::new(7, Keeps::Read);
    let answered = log.open(NOW);
    log.leave(answered, NOW);
    log.push(answered.stream, "response", 100, NOW);
    log.end(answered.stream);
    let chatty = log.open(NOW);
    log.leave(chatty, NOW);
    for _ in 0..10 * limits::REPLAY_EVENTS {
        log.push(chatty.stream, "progress", 100, NOW);
    }

    let (events, _) = log.held();
    assert_eq!(events, limits::REPLAY_EVENTS);
    let resumed = log.resume(&last(answered, 0)).unwrap();
    assert_eq!(items(&mut log, resumed), ["response"]);
}

/// What was dropped is told exactly, and what is left can be had from where it begins.
#[test]
fn after_a_loss_the_rest_can_be_had() {
    let mut log = Log::new(7, Keeps::Read);
    let reading = log.open(NOW);
    log.leave(reading, NOW);
    let said = limits::REPLAY_EVENTS + 10;
    for number in 1..=said {
        log.push(reading.stream, number, 1, NOW);
    }

    let lost = log.resume(&last(reading, 0)).unwrap_err();

    let ResumeError::Lost {
        lost: 10,
        resume_at,
    } = lost
    else {
        panic!("{lost:?}");
    };
    let rest = log.resume(&resume_at.to_string()).unwrap();
    assert_eq!(items(&mut log, rest), (11..=said).collect::<Vec<_>>());
}

#[test]
fn the_limit_of_bytes_is_enforced_but_for_one_large_response() {
    let mut log = Log::new(7, Keeps::Read);
    let reading = log.open(NOW);
    log.leave(reading, NOW);
    for _ in 0..5 {
        log.push(
            reading.stream,
            "notification",
            limits::REPLAY_BYTES / 2,
            NOW,
        );
    }
    assert_eq!(log.held(), (2, limits::REPLAY_BYTES));

    log.push(reading.stream, "response", 16 * limits::REPLAY_BYTES, NOW);

    assert_eq!(log.held(), (1, 16 * limits::REPLAY_BYTES));
}

#[test]
fn the_age_of_what_is_kept_is_enforced() {
    let mut log = Log::new(7, Keeps::Read);
    let reading = log.open(NOW);
    log.push(reading.stream, "response", 1, NOW);
    log.end(reading.stream);
    log.leave(reading, NOW);

    log.expire(Tick(NOW.0 + 299_999));
    assert!(!log.is_empty());
    log.expire(NOW.after(limits::REPLAY_AGE));

    assert!(log.is_empty());
    assert_eq!(log.resume(&last(reading, 0)), Err(ResumeError::Unknown));
}

/// A client that does not read costs a bounded amount, then its stream is cut; it misses nothing
/// when it comes back.
#[test]
fn a_reader_that_does_not_read_is_cut_off_and_comes_back() {
    let mut log = Log::new(7, Keeps::Read);
    let reading = log.open(NOW);
    let said = limits::REPLAY_UNREAD_EVENTS + 1;
    for number in 1..said {
        log.push(reading.stream, number, 1, NOW);
    }
    assert!(matches!(log.next(reading), Next::Event(_, 1)));
    log.push(reading.stream, said, 1, NOW);
    log.push(reading.stream, said + 1, 1, NOW);

    assert_eq!(log.next(reading), Next::End);
    let resumed = log.resume(&last(reading, 1)).unwrap();
    assert_eq!(items(&mut log, resumed), (2..=said + 1).collect::<Vec<_>>());
}

/// A burst of large messages is no sign that nobody reads; more of them are.
#[test]
fn few_large_messages_may_wait() {
    let mut log = Log::new(7, Keeps::Read);
    let reading = log.open(NOW);
    for number in 0..limits::REPLAY_UNREAD_LARGE {
        log.push(reading.stream, number, limits::SSE_EVENT, NOW);
    }
    assert!(matches!(log.next(reading), Next::Event(..)));

    for number in 0..=limits::REPLAY_UNREAD_LARGE {
        log.push(reading.stream, number, limits::SSE_EVENT, NOW);
    }
    assert_eq!(log.next(reading), Next::End);
}

/// A reader that reads nothing of what was said long ago is gone without knowing it.
#[test]
fn a_stalled_reader_is_cut_off_in_time() {
    let mut log = Log::new(7, Keeps::Read);
    let reading = log.open(NOW);
    log.push(reading.stream, "said", 1, NOW);

    log.expire(NOW.after(limits::REPLAY_AGE));

    assert_eq!(log.next(reading), Next::End);
}

#[test]
fn a_newer_reader_replaces_the_one_before() {
    let mut log = Log::new(7, Keeps::Read);
    let older = log.open(NOW);
    log.push(older.stream, 1, 1, NOW);
    log.push(older.stream, 2, 1, NOW);
    assert!(matches!(log.next(older), Next::Event(_, 1)));

    let newer = log.join(older.stream).unwrap();

    assert_eq!(log.next(older), Next::End);
    assert!(!log.leave(older, NOW), "a late goodbye changes nothing");
    assert_eq!(items(&mut log, newer), [2], "what nobody was told yet");
}

/// Ids of a former life of the session, of other streams and of events that were never told.
#[test]
fn an_id_of_another_log_or_of_the_future_is_unknown() {
    let mut log = Log::new(7, Keeps::Read);
    let reading = log.open(NOW);
    log.push(reading.stream, 1, 1, NOW);

    for id in ["8-0-0", "7-1-0", "7-0-1", "7-0-18446744073709551615"] {
        assert_eq!(log.resume(id), Err(ResumeError::Unknown), "{id}");
    }
}

#[test]
fn what_was_read_is_dropped_where_nobody_can_come_back() {
    let mut log = Log::new(7, Keeps::Unread);
    let reading = log.open(NOW);
    log.push(reading.stream, 1, 10, NOW);
    log.push(reading.stream, 2, 10, NOW);

    assert!(matches!(log.next(reading), Next::Event(_, 1)));

    assert_eq!(log.held(), (1, 10));
    assert_eq!(items(&mut log, reading), [2]);
}
