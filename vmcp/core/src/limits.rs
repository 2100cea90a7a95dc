//! Every limit of the gateway, with its reason.
//!
//! Owns the numbers that shared components must agree on. Never enforces one: whoever holds the
//! bytes or the clock does. Exists so that no limit hides in the code that happens to apply it.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A request body: far above any tool call, small enough to buffer for each connection.
pub const REQUEST_BODY: usize = 4 * MIB;
/// A backend's response. Longer ones become a typed error, never cut JSON.
pub const BACKEND_RESPONSE: usize = 16 * MIB;
/// One server-sent event, which must be held whole before it is understood.
pub const SSE_EVENT: usize = 4 * MIB;
/// All request headers together; answered with 431.
pub const HEADER_BYTES: usize = 32 * KIB;
/// Number of request headers; answered with 431.
pub const HEADER_COUNT: usize = 100;
/// The reply to a liveness check: a discovery or a ping is never this long.
pub const LIVENESS_BODY: usize = 64 * KIB;
/// Brackets inside each other: above what any client sends, below what any parser overflows at.
pub const JSON_DEPTH: usize = 64;

/// A client that sends its headers slower than this holds a connection for nothing.
pub const HEADER_READ: Duration = Duration::from_secs(5);
/// A body of [`REQUEST_BODY`] over a slow line.
pub const REQUEST_UPLOAD: Duration = Duration::from_secs(30);
/// A call, end to end, where the spec of the backend says nothing.
pub const CALL: Duration = Duration::from_secs(300);
/// A call, end to end, at most.
pub const CALL_MAX: Duration = Duration::from_secs(3_600);
/// Name look-up and connection to a backend, where its spec says nothing.
pub const CONNECT: Duration = Duration::from_secs(5);
/// An idle connection of a client: longer than load balancers keep theirs.
pub const CLIENT_IDLE: Duration = Duration::from_secs(120);
/// After so long a silence a connection of a client gives its buffers back. To begin again costs
/// microseconds.
pub const CLIENT_REST: Duration = Duration::from_millis(250);
/// An idle connection to a backend: below the 5 s that the commonest server keeps its own.
pub const BACKEND_IDLE: Duration = Duration::from_secs(4);
/// Idle for less than this, a connection is trusted with a call that must not be repeated.
pub const UNREPEATABLE_IDLE: Duration = Duration::from_secs(1);
/// A backend silent for this long turns the reply into server-sent events with comments.
pub const BACKEND_SILENCE: Duration = Duration::from_secs(10);
/// Between comments on a silent stream: below the usual 30 s and 60 s of proxies.
pub const SSE_COMMENT: Duration = Duration::from_secs(15);

/// Events kept for a session whose client lost its connection.
pub const REPLAY_EVENTS: usize = 256;
/// Bytes of those. One event alone may be larger: a response is not lost for its size.
pub const REPLAY_BYTES: usize = MIB;
/// After this the client does not come back.
pub const REPLAY_AGE: Duration = Duration::from_secs(300);
/// Events that wait for a client that does not read: half of what is kept, so that it misses
/// nothing while its stream is cut and it comes back.
pub const REPLAY_UNREAD_EVENTS: usize = REPLAY_EVENTS / 2;
/// Bytes of those.
pub const REPLAY_UNREAD_BYTES: usize = REPLAY_BYTES / 2;
/// So few may wait whatever their size: a burst of large ones is no sign that nobody reads.
pub const REPLAY_UNREAD_LARGE: usize = 4;
/// Bytes of what was said that move with a session to another replica: [`HANDED_SESSIONS`] times
/// this, quoted, stays below [`REQUEST_BODY`].
pub const HANDED_REPLAY: usize = 16 * KIB;
/// How long a client waits before it comes back for its stream.
pub const REPLAY_RETRY: Duration = Duration::from_secs(1);

/// How often a request is sent again that a backend says it never processed: a server that goes away
/// tells so on each of its connections.
pub const UNPROCESSED_REPEATS: u8 = 8;
/// Streams of one HTTP/2 connection.
pub const HTTP2_STREAMS: u32 = 100;
/// Client connections; above it 503.
pub const CONNECTIONS: usize = 16_384;
/// Sessions with state in one pod.
pub const MAX_SESSIONS: usize = 10_000;
/// State of a session nobody used for this long is dropped; its id stays good.
pub const SESSION_IDLE: Duration = Duration::from_secs(600);
/// After this the id is no longer good.
pub const SESSION_MAX_AGE: Duration = Duration::from_secs(86_400);
/// Bytes of encoded session claims: they travel in a header with each request.
pub const SESSION_CLAIMS: usize = 4 * KIB;

/// Connection and proof between two replicas of one gateway, which are neighbours.
pub const PEER_CONNECT: Duration = Duration::from_secs(1);
/// A short question between replicas, with its answer.
pub const PEER_ASK: Duration = Duration::from_secs(2);
/// Head of the answer to a relayed request: the owner keeps the deadlines of the call itself.
pub const PEER_REPLY: Duration = CALL_MAX.saturating_add(Duration::from_secs(60));
/// A connection between replicas without a request.
pub const PEER_IDLE: Duration = Duration::from_secs(60);
/// Connections without a request that are kept for each replica.
pub const PEER_IDLE_CONNECTIONS: usize = 32;
/// Connections at the peer port that have proven nothing yet, from addresses that are no replica's.
pub const PEER_HANDSHAKES: usize = 64;
/// Of those, at most this many from one address.
pub const PEER_HANDSHAKES_SOURCE: usize = 8;
/// The same from the address of a replica: it may begin to pass on many requests at once.
pub const PEER_HANDSHAKES_REPLICA: usize = 256;
/// Answer to a short question between replicas.
pub const PEER_ANSWER: usize = 64 * KIB;
/// From a changed list to the moment when it is no longer waited for that all replicas show it.
pub const AGREE_WITHIN: Duration = Duration::from_secs(5);
/// Between two questions whether they do: a look at a backend takes about as long.
pub const AGREE_EVERY: Duration = Duration::from_millis(100);
/// Sessions that are handed to another replica at a time; the body stays below [`REQUEST_BODY`].
pub const HANDED_SESSIONS: usize = 64;

/// Threads that serve clients: one for each core, and of a machine with more the rest is left to
/// others.
pub const LANES: usize = 64;
/// Calls under way at one backend, and idle connections to it.
pub const IN_FLIGHT: usize = 100;
/// Of those, at most this many for one principal.
pub const IN_FLIGHT_PRINCIPAL: usize = IN_FLIGHT / 2;
/// Calls that wait for a free place.
pub const QUEUE: usize = 32;
/// How long they wait.
pub const QUEUE_WAIT: Duration = Duration::from_secs(1);
/// Requests of a backend's that may be unanswered on one call: more are refused.
pub const QUESTIONS: usize = 16;
/// How often one call may ask; the round after that ends it, or the question fails.
pub const PARKED_ROUNDS: u32 = 8;
/// Calls of modern clients that wait for input in one pod: each holds an upstream session.
pub const PARKED: usize = 1_000;
/// Of those, at most this many for one principal.
pub const PARKED_PRINCIPAL: usize = 10;
/// After a question of a legacy backend, others that follow at once are asked together with it.
pub const PARK_GATHER: Duration = Duration::from_millis(10);
/// Bytes of the claims inside `requestState`: a process, a principal, numbers.
pub const STATE_CLAIMS: usize = 4 * KIB;
/// Bytes of a backend's id of a task, which travels sealed in a header.
pub const TASK_ID: usize = KIB;
/// Messages to a backend beside its calls that are on their way at once, each on a connection of
/// its own: a backend that asks much must not use up our descriptors (R4.8).
pub const ASIDE: usize = 8;
/// The stream that a session listens on is awaited this long before its first call; most servers
/// drop a question that nobody listens for.
pub const EAR_OPEN: Duration = Duration::from_secs(1);
/// Messages of one 2024-11-05 client that are being worked on.
pub const EVENTS_IN_FLIGHT: usize = IN_FLIGHT;
/// Messages of one JSON-RPC batch, where 2025-03-26 was negotiated.
pub const BATCH: usize = 100;
/// Redirects that are followed: none, they would carry credentials elsewhere.
pub const REDIRECTS: usize = 0;

/// Pages of one backend's list: a cursor that never ends stops here.
pub const CATALOG_PAGES: usize = 100;
/// Entries of one backend's list.
pub const CATALOG_ENTRIES: usize = 10_000;
/// Description of one entry.
pub const DESCRIPTION: usize = 64 * KIB;
/// `metadata.name` of a backend, as its schema bounds it.
pub const BACKEND_NAME: usize = 40;
/// Exposed names above this draw a warning: the commonest client limit.
pub const NAME_WARN: usize = 64;
/// Exposed names above this are hidden: the specification's limit.
pub const NAME_MAX: usize = 128;
/// Entries of one page that we serve.
pub const PAGE_ENTRIES: usize = 1_000;
/// Bytes of entries of one page that we serve.
pub const PAGE_BYTES: usize = MIB;
/// A resource's URI or URI template: it travels in a header and in cursors.
pub const URI: usize = 4 * KIB;
/// A cursor that a client may send back: room for the longest [`URI`] in base64.
pub const CURSOR: usize = 8 * KIB;
/// One file of kept lists: far above what servers list.
pub const SHELF_FILE: usize = 16 * MIB;
/// All kept lists of a gateway together; its volume in a pod is twice as large.
pub const SHELF_BYTES: usize = 64 * MIB;
/// Files of kept lists: one for each backend that a gateway can have.
pub const SHELF_FILES: usize = 1_000;
/// `ttlMs` that we promise at most: a client's copy may be this old.
pub const LIST_TTL: Duration = Duration::from_secs(60);

/// Transitions kept for each backend (R1.13).
pub const TRANSITIONS: usize = 50;
/// Foreign text in a status, in an error for a client and in a log line (R3.4 allows 512 there; one
/// text serves all three).
pub const STATUS_TEXT: usize = 256;
/// `Retry-After` is obeyed up to this.
pub const RETRY_AFTER: Duration = Duration::from_secs(300);

/// Resources that one session, or one `subscriptions/listen`, may be subscribed to.
pub const SUBSCRIPTIONS: usize = 1_000;
/// What other replicas keep of a session's log level and subscriptions, for the one that serves it when
/// its own is killed; subscriptions beyond it are not restored.
pub const WILL: usize = 32 * KIB;
/// What a replica keeps of such, of all sessions of all others.
pub const WILLS: usize = 16 * MIB;
/// As much of it is told at a time, but for the last of a session that begins within.
pub const WILLS_AT_A_TIME: usize = MIB;
/// How long a subscription waits for its backend before it is answered without it.
pub const SUBSCRIBE: Duration = Duration::from_secs(2);
/// A standing stream that stood for this long was a good one: the next is asked for at once.
pub const STANDING_PROVEN: Duration = Duration::from_secs(60);
/// How long a client may take to answer a request of a backend's.
pub const PARKED_ROUND: Duration = Duration::from_secs(600);
