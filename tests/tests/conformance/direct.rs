//! The yardstick itself: without a gateway between.

use futures::{StreamExt, stream};
use vmcp_tests::conformance::Era;
use vmcp_tests::conformance::suite::{self, Revision, Server};
use vmcp_tests::peers;

use crate::kit::{expected, judge};

/// Runs at a time, on a machine of two cores.
const AT_A_TIME: usize = 2;

/// A perfect backend: what fails through the gateway is the gateway's.
#[tokio::test]
async fn the_conformance_backend_passes_every_required_scenario_in_each_of_its_eras() {
    let peers = peers::installed().expect("the suite is installed");
    let none = expected("none.yaml");
    let cells = [
        (Era::Legacy, Revision::V2025_11_25),
        (Era::Modern, Revision::V2026_07_28),
        (Era::Dual, Revision::V2025_11_25),
        (Era::Dual, Revision::V2026_07_28),
    ];

    let runs = stream::iter(cells).map(|(era, revision)| {
        let (peers, none) = (&peers, &none);
        async move {
            let server = Server::start(era).await.expect("a backend");
            let run = suite::server(peers, &server.url, revision, none).await;
            let title = format!("direct, {era:?} backend, {}", revision.name());
            (title, run.expect("a run"))
        }
    });
    let runs: Vec<_> = runs.buffered(AT_A_TIME).collect().await;

    judge(&runs);
    for ((_, revision), (title, run)) in cells.iter().zip(&runs) {
        assert_eq!(run.passed(), revision.required(), "{title}");
    }
}
