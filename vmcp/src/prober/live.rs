//! Checks against real backends.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Checked, Checker};
use crate::backend::probe::{self, ProbeMemory, ProbeTarget, Timings};
use crate::backend::watch::{self, Ended, OnChange};
use crate::metrics::{Durations, Phase};
use crate::registry::Want;
use crate::snapshot::Endpoint;

/// The health check of `backend`, over fresh connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveChecker;

impl Checker for LiveChecker {
    type Memory = ProbeMemory;

    fn check(
        &self,
        endpoint: Arc<Endpoint>,
        memory: ProbeMemory,
        want: Want,
        deadline: Duration,
    ) -> BoxFuture<'static, Checked<ProbeMemory>> {
        let want = match want {
            Want::Liveness => probe::Want::Liveness,
            Want::Catalogue => probe::Want::Catalogue,
        };
        async move {
            let target = ProbeTarget { endpoint };
            let report = probe::check(&target, memory, want, deadline).await;
            Checked {
                outcome: report.outcome,
                catalog: report.catalog,
                durations: durations(report.timings),
                memory: report.memory,
            }
        }
        .boxed()
    }

    fn follow(
        &self,
        endpoint: Arc<Endpoint>,
        memory: &ProbeMemory,
        changed: OnChange,
        cancel: CancellationToken,
    ) -> Option<BoxFuture<'static, Ended>> {
        let dialect = memory
            .dialect()
            .filter(|dialect| watch::can_follow(*dialect))?;
        memory
            .announces_changes()
            .then(|| watch::follow(endpoint, dialect, changed, cancel).boxed())
    }

    fn end(&self, endpoint: Arc<Endpoint>, memory: ProbeMemory) -> BoxFuture<'static, ()> {
        async move { probe::end(&ProbeTarget { endpoint }, memory).await }.boxed()
    }
}

fn durations(timings: Timings) -> Durations {
    Durations::default()
        .with(Phase::Dns, timings.dns)
        .with(Phase::Connect, timings.connect)
        .with(Phase::Tls, timings.tls)
        .with(Phase::Handshake, timings.handshake)
        .with(Phase::List, timings.list)
        .with(Phase::Call, timings.call)
}
