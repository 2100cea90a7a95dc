//! Takes keys from a queue and visits them. An error or a visit that hangs costs that one
//! object a delay and nobody else anything.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::CallError;
use crate::limits::{RECONCILE_TIMEOUT, RECONCILE_WORKERS};
use crate::metrics::{Metrics, Outcome};
use crate::queue::{Key, Next, Queue};
use crate::world::World;
use crate::{mcpserver, virtualmcpserver};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    McpServer,
    VirtualMcpServer,
}

impl Controller {
    /// Value of the metrics label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::McpServer => "mcpserver",
            Self::VirtualMcpServer => "virtualmcpserver",
        }
    }

    fn queue(self, world: &World) -> &Arc<Queue> {
        match self {
            Self::McpServer => &world.queues.servers,
            Self::VirtualMcpServer => &world.queues.virtuals,
        }
    }

    async fn visit(self, world: &World, key: &Key) -> Result<Next, CallError> {
        match self {
            Self::McpServer => Box::pin(mcpserver::reconcile(world, key)).await,
            Self::VirtualMcpServer => Box::pin(virtualmcpserver::reconcile(world, key)).await,
        }
    }
}

/// How workers end.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    /// Each after its visit.
    pub after_visit: CancellationToken,
    /// In the middle of it: somebody else may lead by now.
    pub at_once: CancellationToken,
}

/// Starts the workers of a controller.
pub fn start(
    controller: Controller,
    world: &Arc<World>,
    metrics: &Metrics,
    tasks: &TaskTracker,
    stops: &Stops,
) {
    for _ in 0..RECONCILE_WORKERS {
        let (world, metrics, stops) = (Arc::clone(world), metrics.clone(), stops.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stops.at_once.cancelled() => {}
                () = work(controller, world, metrics, stops.after_visit) => {}
            }
        });
    }
}

async fn work(
    controller: Controller,
    world: Arc<World>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let queue = Arc::clone(controller.queue(&world));
    loop {
        let key = tokio::select! {
            () = stop.cancelled() => return,
            key = queue.next() => key,
        };
        metrics.queued(controller.as_str(), queue.depth());
        let started = Instant::now();
        let visit = controller.visit(&world, &key);
        let result = tokio::time::timeout(RECONCILE_TIMEOUT, visit).await;
        let (next, outcome) = judge(controller, &key, result);
        metrics.reconciled(controller.as_str(), outcome, started.elapsed());
        queue.done(&key, next);
    }
}

fn judge(
    controller: Controller,
    key: &Key,
    result: Result<Result<Next, CallError>, tokio::time::error::Elapsed>,
) -> (Next, Outcome) {
    let (controller, namespace, name) = (controller.as_str(), &key.namespace, &key.name);
    match result {
        Ok(Ok(next)) => (next, Outcome::Ok),
        Ok(Err(error)) if error.is_race() => {
            tracing::debug!(controller, namespace, name, %error, "looking again");
            (Next::Raced, Outcome::Conflict)
        }
        Ok(Err(error)) => {
            tracing::warn!(controller, namespace, name, %error, "reconcile failed");
            (Next::Failed, Outcome::Error)
        }
        Err(_) => {
            tracing::warn!(controller, namespace, name, "reconcile took too long");
            (Next::Failed, Outcome::Timeout)
        }
    }
}
