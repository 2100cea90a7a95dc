//! One thread that starts every child process.
//!
//! Owns the answer to a trap of Linux: a parent-death signal is sent when the *thread* that
//! started the child ends. The threads of a test or of its runtime end long before the process
//! does, this one never does. It must never do anything but spawn.

use std::io;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Spawns in flight: each caller waits for its own, so that the queue is as long as there are
/// callers at most.
const QUEUE: usize = 16;

struct Order {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

static SPAWNER: LazyLock<io::Result<SyncSender<Order>>> = LazyLock::new(|| {
    let (orders, queue) = sync_channel::<Order>(QUEUE);
    thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for mut order in queue {
                // Nobody is there to reply to when the caller has gone.
                let _gone = order.reply.send(order.command.spawn());
            }
        })?;
    Ok(orders)
});

/// Spawns on the thread that lives as long as this process.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts programs has ended");
    let spawner = SPAWNER
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (reply, answer) = sync_channel(1);
    spawner.send(Order { command, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
