//! Who writes the served facts while the other is away, and that nothing is lost or fought over.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::stack::{SOON, World, condition};

/// Until a Lease that nobody renews counts as stale, with the time to notice and write.
const STALE: Duration = Duration::from_secs(25);

/// Served facts: they belong to whoever holds the pen, all of them.
const SERVED: [&str; 7] = [
    "f:phase",
    "f:message",
    "f:backends",
    "f:backendCount",
    "f:readyBackendCount",
    "f:toolCount",
    "f:discoveredBackends",
];

/// Conditions among the served facts.
const SERVED_CONDITIONS: [&str; 4] = [
    "Ready",
    "BackendsReady",
    "BackendsDiscovered",
    "ConflictsResolved",
];

/// Types of the conditions that a field manager owns.
async fn conditions_of(world: &World, manager: &str) -> Result<Vec<String>> {
    let object = world.virtuals().get("all").await?;
    let managed = object.metadata.managed_fields.unwrap_or_default();
    let of_manager = managed.into_iter().filter(|entry| {
        entry.subresource.as_deref() == Some("status") && entry.manager.as_deref() == Some(manager)
    });
    let mut types = Vec::new();
    for entry in of_manager {
        let fields = entry.fields_v1.map(|fields| fields.0).unwrap_or_default();
        let conditions = fields["f:status"]["f:conditions"].as_object().cloned();
        for key in conditions.unwrap_or_default().keys() {
            if let Some(key) = key.strip_prefix("k:") {
                let key: Value = serde_json::from_str(key)?;
                types.extend(key["type"].as_str().map(str::to_owned));
            }
        }
    }
    ensure!(!types.is_empty(), "{manager} owns no condition");
    Ok(types)
}

/// Field managers of the status with the fields that each owns.
async fn owners(world: &World) -> Result<Vec<(String, BTreeSet<String>)>> {
    let object = world.virtuals().get("all").await?;
    let managed = object.metadata.managed_fields.unwrap_or_default();
    Ok(managed
        .into_iter()
        .filter(|entry| entry.subresource.as_deref() == Some("status"))
        .filter_map(|entry| {
            let fields = entry.fields_v1?.0;
            let status = fields.get("f:status")?.as_object()?;
            Some((entry.manager?, status.keys().cloned().collect()))
        })
        .collect())
}

async fn owner_of_phase(world: &World, manager: &str) -> Result<()> {
    eventually(&format!("{manager} owns the phase"), STALE, || async {
        let owners = owners(world).await?;
        let found = owners
            .iter()
            .any(|(name, fields)| name == manager && fields.contains("f:phase"));
        ensure!(found, "{owners:?}");
        Ok(())
    })
    .await
}

fn present(status: &Value) -> BTreeSet<String> {
    status
        .as_object()
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default()
}

/// R0.7, R2.5, T6: gateway to operator and back: every served field is always there and never
/// written by two at a time.
#[tokio::test]
async fn served_facts_pass_from_gateway_to_operator_and_back_without_loss() -> Result<()> {
    let world = World::new("handover").await?;
    let backend = Backend::start(Script::legacy()).await?;
    world.add_remote("one", &backend.url()).await?;
    world.add_virtual("all", json!({})).await?;
    let _operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;
    owner_of_phase(&world, "vmcp-status").await?;
    let before = present(&serde_json::to_value(world.status("all").await?)?);

    gateway.program.kill()?;
    let away = world
        .until("all", "GatewayUnavailable", STALE, |status| {
            condition(status, "Ready").starts_with("False GatewayUnavailable")
        })
        .await?;
    ensure!(
        condition(&away, "BackendsReady").starts_with("Unknown"),
        "{away:?}"
    );
    ensure!(
        away.discovered_backends.len() == 1,
        "the list was lost: {away:?}"
    );
    let missing: Vec<_> = before
        .difference(&present(&serde_json::to_value(&away)?))
        .cloned()
        .collect();
    ensure!(
        missing.iter().all(|field| field == "message"),
        "lost fields: {missing:?}"
    );

    let _gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", STALE).await?;
    eventually(
        "the operator lets go of the served facts",
        STALE,
        || async {
            let owners = owners(&world).await?;
            let operator = owners.iter().find(|(name, _)| name == "vmcp-operator");
            let (_, fields) = operator.context("the operator owns nothing")?;
            let held: Vec<_> = SERVED
                .iter()
                .filter(|field| fields.contains(**field))
                .collect();
            ensure!(held.is_empty(), "still held: {held:?}");
            let conditions = conditions_of(&world, "vmcp-operator").await?;
            ensure!(
                !conditions
                    .iter()
                    .any(|kind| SERVED_CONDITIONS.contains(&kind.as_str())),
                "still held: {conditions:?}"
            );
            Ok(())
        },
    )
    .await?;

    nobody_writes(&world).await
}

/// Neither program touches the status for longer than any pacing below a minute.
async fn nobody_writes(world: &World) -> Result<()> {
    let mark = world.plane.audit().mark();
    // Only time shows that nobody writes: longer than any pacing below a minute.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let writes: Vec<_> = world
        .plane
        .audit()
        .since(&mark)
        .into_iter()
        .filter(|event| event.is_write() && event.namespace == world.name())
        .filter(|event| event.resource == "virtualmcpservers" || event.resource == "mcpservers")
        .map(|event| format!("{} {} {}", event.user, event.verb, event.uri))
        .collect();
    ensure!(
        writes.is_empty(),
        "somebody fights over the status: {writes:#?}"
    );
    Ok(())
}

/// A replica that ends in order gives the Lease away at once; another that serves takes over, and
/// the status never says that the gateway is away.
#[tokio::test]
async fn a_lease_given_away_on_sigterm_is_taken_by_the_other_replica() -> Result<()> {
    let world = World::new("lease").await?;
    let backend = Backend::start(Script::legacy()).await?;
    world.add_remote("one", &backend.url()).await?;
    world.add_virtual("all", json!({ "replicas": 2 })).await?;
    let _operator = world.operator().await?;
    let first = world.replica("all", "all-a").await?;
    world.until_phase("all", "Ready", SOON).await?;
    let _second = world.replica("all", "all-b").await?;
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), world.name());
    let holder = |lease: Lease| lease.spec.and_then(|spec| spec.holder_identity);
    ensure!(holder(leases.get("vmcp-all").await?).as_deref() == Some("all-a"));

    let ended = first.program.terminate(Duration::from_secs(30));
    let taken = eventually(
        "the other replica holds the Lease",
        Duration::from_secs(8),
        || async {
            let held = holder(leases.get("vmcp-all").await?);
            ensure!(held.as_deref() == Some("all-b"), "{held:?}");
            Ok(())
        },
    );
    let mut seen = BTreeSet::new();
    let sampling = async {
        loop {
            if let Ok(status) = world.status("all").await {
                seen.insert(condition(&status, "Ready"));
            }
            tokio::task::yield_now().await;
        }
    };
    let (ended, taken) = tokio::select! {
        both = async { tokio::join!(ended, taken) } => both,
        () = sampling => (Ok(std::process::ExitStatus::default()), Ok(())),
    };

    taken?;
    ensure!(ended?.success());
    ensure!(
        seen.iter().all(|ready| ready.starts_with("True")) && !seen.is_empty(),
        "{seen:?}"
    );
    Ok(())
}
