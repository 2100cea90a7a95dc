//! Streams that move to another replica with their session.

use proptest::prelude::*;
use vmcp_core::replay::{EventId, Keeps, Log, Next, Packed, Reading, ResumeError};
use vmcp_core::time::Tick;

use crate::support::{SOME, cases};

const HERE: Tick = Tick(1_000_000);
/// Another process has another clock.
const THERE: Tick = Tick(5);

fn say(log: &mut Log<Vec<u8>>, stream: u64, number: u64, now: Tick) {
    let said = number.to_string().into_bytes();
    let bytes = said.len();
    assert!(log.push(stream, said, bytes, now));
}

fn read(log: &mut Log<Vec<u8>>, reading: Reading) -> Option<(EventId, u64)> {
    match log.next(reading) {
        Next::Event(id, said) => Some((id, String::from_utf8(said).unwrap().parse().unwrap())),
        Next::Pending | Next::End => None,
    }
}

/// As it arrives: through JSON.
fn moved(log: &Log<Vec<u8>>, bytes: usize, standing: Option<u64>) -> Log<Vec<u8>> {
    let packed = serde_json::to_string(&log.pack(bytes)).unwrap();
    let packed: Packed = serde_json::from_str(&packed).unwrap();
    Log::unpack(packed, standing, Keeps::Read, THERE)
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// Whatever moves along: the client goes on without a gap, or is told how much it lost and from
    /// where the rest can be had; and what is said at the other replica comes behind it.
    #[test]
    fn a_client_goes_on_at_the_other_replica_or_is_told_what_it_lost(
        said in 1_u64..100,
        seen in 1_u64..100,
        bytes in 0_usize..300,
        more in 0_u64..10,
    ) {
        let mut log = Log::new(7, Keeps::Read);
        let reading = log.open(HERE);
        let stream = reading.stream;
        for number in 1..=said {
            say(&mut log, stream, number, HERE);
        }
        let mut last = None;
        for _ in 0..seen.min(said) {
            last = read(&mut log, reading);
        }
        let (last, seen) = last.unwrap();

        let mut log = moved(&log, bytes, Some(stream));
        for number in said + 1..=said + more {
            say(&mut log, stream, number, THERE);
        }

        let (from, reading) = match log.resume(&last.to_string()) {
            Ok(reading) => (seen + 1, reading),
            Err(ResumeError::Lost { lost, resume_at }) => {
                prop_assert_eq!(resume_at.seq, seen + lost);
                let rest = log.resume(&resume_at.to_string());
                (seen + lost + 1, rest.unwrap())
            }
            Err(ResumeError::Unknown) => {
                prop_assert!(false, "the stream has moved");
                return Ok(());
            }
        };
        for expected in from..=said + more {
            let (id, number) = read(&mut log, reading).unwrap();
            prop_assert_eq!((id.log, id.seq, number), (7, expected, expected));
        }
        prop_assert_eq!(log.next(reading), Next::Pending);
    }
}

/// A response that nobody has read yet is had where the session is now.
#[test]
fn a_response_moves_with_its_session_and_ends_its_stream() {
    let mut log = Log::new(7, Keeps::Read);
    let (call, standing) = (log.open(HERE), log.open(HERE));
    say(&mut log, call.stream, 1, HERE);
    let (last, _) = read(&mut log, call).unwrap();
    log.leave(call, HERE);
    say(&mut log, call.stream, 2, HERE);
    log.end(call.stream);

    let mut log = moved(&log, 1_000, Some(standing.stream));
    let resumed = log.resume(&last.to_string()).unwrap();

    assert_eq!(read(&mut log, resumed).unwrap().1, 2);
    assert_eq!(log.next(resumed), Next::End);
    assert!(log.is_awaited(standing.stream, THERE));
    let another = log.open(THERE);
    assert!(another.stream > standing.stream, "a number is used twice");
}

/// A call that was cut has nobody who would end its stream.
#[test]
fn a_stream_without_a_writer_ends() {
    let mut log = Log::new(7, Keeps::Read);
    let call = log.open(HERE);
    say(&mut log, call.stream, 1, HERE);
    let (last, _) = read(&mut log, call).unwrap();

    let mut log = moved(&log, 1_000, None);

    let resumed = log.resume(&last.to_string()).unwrap();
    assert_eq!(log.next(resumed), Next::End);
}
