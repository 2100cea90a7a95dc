//! Every limit, deadline and interval of the operator, with its reason.

use jiff::SignedDuration;
use std::time::Duration;

/// One request to the API server: longer than any admission webhook's default (10 s would
/// be its maximum, but it must fit our own tries).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one request, the first included (architecture, decision 10).
pub const REQUEST_TRIES: u32 = 3;
/// Longest wait between two tries, whatever `Retry-After` says.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// Shortest wait between two tries.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
/// A watch ends after this many seconds, so that a frozen stream is noticed.
pub const WATCH_TIMEOUT_SECONDS: u32 = 45;
/// First wait after a watch was interrupted; doubles from there.
pub const WATCH_RETRY_MIN: Duration = Duration::from_millis(400);
/// Longest wait after a watch was interrupted: shorter than the 5 s in which a deletion
/// must be noticed once the API server is back (R2.8).
pub const WATCH_RETRY_MAX: Duration = Duration::from_secs(3);
/// Silence of a connection, longer than a watch lasts: also where a list or the start of a
/// watch hangs.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Until a connection to the API server is there: it is near.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One reconcile: more than the sum of its usual requests, so that one that hangs ends.
pub const RECONCILE_TIMEOUT: Duration = Duration::from_secs(60);
/// Reconciles at a time and controller: they wait for the API server, not for a core.
pub const RECONCILE_WORKERS: usize = 8;
/// First delay after a failed reconcile; doubles from there.
pub const ERROR_DELAY_MIN: Duration = Duration::from_millis(500);
/// Longest delay after a failed reconcile.
pub const ERROR_DELAY_MAX: Duration = Duration::from_secs(30);
/// First delay after a write that somebody else's was faster than; doubles from there.
pub const RACE_DELAY_MIN: Duration = Duration::from_millis(100);
/// Longest delay after such a write: a race that lasts is a fault, and must be no hot loop.
pub const RACE_DELAY_MAX: Duration = Duration::from_secs(5);
/// A name that a stranger holds is tried again, because no event tells when it is free.
pub const STRANGER_DELAY: Duration = Duration::from_secs(10);
/// A predecessor's object is on its way out: the garbage collector needs about this long.
pub const LEAVING_DELAY: Duration = Duration::from_millis(500);
/// What the API server refused is tried again: a quota or a webhook may have changed.
pub const REFUSED_DELAY: Duration = Duration::from_secs(30);
/// Our own cache has this long to show what we wrote; then we act on what it has, and the
/// preconditions of each write protect us (architecture, decision 9).
pub const GUARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Looks at the cache while a write is not seen yet; the event of the write comes sooner.
pub const GUARD_DELAY: Duration = Duration::from_millis(250);
/// A living gateway has this long to remove a deleted backend itself (decision 7).
pub const PRUNE_GRACE: Duration = Duration::from_secs(3);
/// The operator's own Lease: longer than a gateway's 10 s, because nothing is served by it.
pub const LEADER_LEASE: Duration = Duration::from_secs(15);
/// Renewals of it: four can fail.
pub const LEADER_RENEW: Duration = Duration::from_secs(3);
/// A leader that could not renew for this long stops: sooner than another can take over.
pub const LEADER_GIVE_UP: Duration = Duration::from_secs(12);
/// Longest note of an event that the API server accepts, in bytes.
pub const EVENT_NOTE_MAX: usize = 1024;
/// Events that wait to be written; more at a time are dropped and counted.
pub const EVENT_QUEUE: usize = 256;
/// Graceful end of everything, below the 30 s of the pod.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// After an admin connection that could not be accepted.
pub const ADMIN_ACCEPT_DELAY: Duration = Duration::from_millis(100);
/// Reading the header of an admin request.
pub const ADMIN_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to the admin port: a scraper and the kubelet need two.
pub const ADMIN_CONNECTIONS: usize = 64;
/// Objects whose last write is remembered, to see what the server made of it.
pub const SETTLED_MAX: usize = 65_536;

/// A session key leaves the mounts this long after the others began to seal with the new
/// one: the longest session (24 h), and the longest roll of the replicas that still sealed
/// with the old (a drain is an hour at most, and there are a few).
pub const KEY_LEAVES: SignedDuration = SignedDuration::from_hours(36);
