//! Through the gateway, with two more backends aggregated beside the suite's own.

use anyhow::Result;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::conformance::Era;
use vmcp_tests::conformance::suite::{self, Revision, Run, Server};
use vmcp_tests::peers::{self, Peers};
use vmcp_tests::stack::{Local, remote};

use crate::kit::{expected, judge};

/// Runs at a time, on a machine of two cores.
const AT_A_TIME: usize = 2;

/// How names are joined, so that the suite finds its tools under their own names.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// PrefixOnConflict, the suite's backend first.
    OnConflict,
    /// Prefix, and an empty one for the suite's backend.
    EmptyPrefix,
}

/// A run and what it may fail at.
#[derive(Clone, Copy, Debug)]
struct Cell {
    naming: Naming,
    backend: Era,
    revision: Revision,
    expected: &'static str,
}

impl Cell {
    fn title(self) -> String {
        format!(
            "gateway ({:?}), {:?} backend, {}",
            self.naming,
            self.backend,
            self.revision.name()
        )
    }

    /// The objects that a person would apply. A dual backend is spoken to in the era of the run.
    fn objects(self, suite: &Server, beside: &[Backend; 2]) -> Vec<Value> {
        let (strategy, first) = match self.naming {
            Naming::OnConflict => ("PrefixOnConflict", json!({"name": "conformance"})),
            Naming::EmptyPrefix => ("Prefix", json!({"name": "conformance", "prefix": ""})),
        };
        let refs = [
            first,
            json!({"name": "beside-one"}),
            json!({"name": "beside-two"}),
        ];
        let mut server = remote("conformance", &suite.url);
        if self.backend == Era::Dual {
            server["spec"]["protocol"] = json!(match self.revision {
                Revision::V2025_11_25 => "legacy",
                Revision::V2026_07_28 => "modern",
            });
        }
        vec![
            json!({
                "apiVersion": "vmcp.dev/v1alpha1",
                "kind": "VirtualMCPServer",
                "metadata": {"name": "all"},
                "spec": {
                    "backends": {"refs": refs},
                    "aggregation": {"conflictResolution": {"strategy": strategy}},
                },
            }),
            server,
            remote("beside-one", &beside[0].url()),
            remote("beside-two", &beside[1].url()),
        ]
    }

    async fn run(self, peers: &Peers) -> Result<Run> {
        let suite = Server::start(self.backend).await?;
        let beside = [
            Backend::start(Script::legacy()).await?,
            Backend::start(Script::modern()).await?,
        ];
        let gateway = Local::of(&self.objects(&suite, &beside)).await?;
        gateway
            .until_phase("Ready", vmcp_tests::stack::SOON)
            .await?;
        let url = gateway.gateway.url();
        suite::server(peers, &url, self.revision, &expected(self.expected)).await
    }
}

async fn run_all(cells: &[Cell]) -> Vec<(String, Run)> {
    let peers = peers::installed().expect("the suite is installed");
    let runs = stream::iter(cells).map(|cell| {
        let peers = &peers;
        async move {
            let title = cell.title();
            let run = cell.run(peers).await;
            let run = run.unwrap_or_else(|error| panic!("{title}: {error:#}"));
            (title, run)
        }
    });
    runs.buffered(AT_A_TIME).collect().await
}

/// R4.1, T21, T22: a client that knows one backend sees no difference when the gateway and two
/// more backends stand between, in either era and by both ways of naming.
#[tokio::test]
async fn the_gateway_passes_every_required_scenario_in_front_of_a_backend_of_the_same_era() {
    let mut cells = Vec::new();
    for naming in [Naming::OnConflict, Naming::EmptyPrefix] {
        for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
            cells.push(Cell {
                naming,
                backend: Era::Dual,
                revision,
                expected: match revision {
                    Revision::V2025_11_25 => "same-era-2025-11-25.yaml",
                    Revision::V2026_07_28 => "same-era-2026-07-28.yaml",
                },
            });
        }
    }

    judge(&run_all(&cells).await);
}

/// T23: a client of one era and a backend of the other; what cannot be translated is listed.
#[tokio::test]
async fn what_cannot_be_translated_between_the_eras_is_exactly_what_is_listed() {
    let cells = [
        Cell {
            naming: Naming::OnConflict,
            backend: Era::Modern,
            revision: Revision::V2025_11_25,
            expected: "cross-era-2025-11-25.yaml",
        },
        Cell {
            naming: Naming::OnConflict,
            backend: Era::Legacy,
            revision: Revision::V2026_07_28,
            expected: "cross-era-2026-07-28.yaml",
        },
    ];

    judge(&run_all(&cells).await);
}
