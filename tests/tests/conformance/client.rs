//! The gateway as a client: what it writes to the suite's mock servers.

use futures::{StreamExt, stream};
use vmcp_tests::conformance::suite::{self, Revision};
use vmcp_tests::peers;
use vmcp_tests::process;

use crate::kit::{expected, judge};

const LEGACY: Revision = Revision::V2025_11_25;
const MODERN: Revision = Revision::V2026_07_28;

/// Scenarios at a time: each starts a gateway and two Node.js processes.
const AT_A_TIME: usize = 3;

/// The scenarios that apply to a gateway without authorization, by the revision that they are of.
const SCENARIOS: [(&str, Revision); 11] = [
    ("initialize", LEGACY),
    ("tools_call", MODERN),
    ("elicitation-sep1034-client-defaults", LEGACY),
    ("sse-retry", LEGACY),
    ("request-metadata", MODERN),
    ("sep-2322-client-request-state", MODERN),
    ("http-standard-headers", MODERN),
    ("http-custom-headers", MODERN),
    ("http-invalid-tool-headers", MODERN),
    ("json-schema-ref-no-deref", MODERN),
    ("json-schema-2020-12-preservation", MODERN),
];
/// Those that exist in both revisions are run in the older one, too.
const AGAIN: [(&str, Revision); 2] = [
    ("tools_call", LEGACY),
    ("json-schema-2020-12-preservation", LEGACY),
];

/// R4.1: towards a backend the gateway is a client as the revisions ask for.
#[tokio::test]
async fn the_gateway_passes_the_client_scenarios_that_apply_to_it() {
    let peers = peers::installed().expect("the suite is installed");
    let driver = process::binary("conformance-driver").expect("the driver is built");

    let all = SCENARIOS.into_iter().chain(AGAIN);
    let runs = stream::iter(all).map(|(scenario, revision)| {
        let (peers, driver) = (&peers, &driver);
        async move {
            let file = expected(&format!("client-{}.yaml", revision.name()));
            let run = suite::client(peers, driver, scenario, revision, &file).await;
            let title = format!("gateway as client, {}, {scenario}", revision.name());
            let run = run.unwrap_or_else(|error| panic!("{title}: {error:#}"));
            (title, run)
        }
    });
    let runs: Vec<_> = runs.buffered(AT_A_TIME).collect().await;

    judge(&runs);
}
