//! What the tests of the operator share: a namespace with a running operator, and questions to the
//! API server that wait for their answer.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vmcp_crds::{MCPServer, VirtualMCPServer};
use vmcp_tests::controlplane::{AuditEvent, Mark};
use vmcp_tests::eventually::eventually;
use vmcp_tests::stack::{OperatorProcess, World};

/// A few requests of the operator and of a controller of Kubernetes, on a busy machine.
pub const QUICK: Duration = Duration::from_secs(20);

/// The garbage collector of Kubernetes looks for new kinds every 30 s; until then it does not know
/// whose objects ours are.
const COLLECTED: Duration = Duration::from_secs(90);

/// No write for this long: whatever an event started is over.
const QUIET: Duration = Duration::from_secs(3);

/// A namespace and the operator that serves it.
pub struct Kit {
    pub world: World,
    pub operator: OperatorProcess,
}

/// Any kind in a namespace.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

impl Kit {
    pub async fn start(prefix: &str) -> Result<Self> {
        let world = World::new(prefix).await?;
        let operator = world.operator().await?;
        Ok(Self { world, operator })
    }

    /// Kills the operator as a crash would and starts another.
    pub async fn restart(&mut self) -> Result<()> {
        self.operator.program.kill()?;
        self.operator = self.world.operator().await?;
        Ok(())
    }

    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.world.client.clone(), self.world.name())
    }

    pub async fn create(&self, server: &Value) -> Result<()> {
        let object: MCPServer = serde_json::from_value(server.clone())?;
        self.world
            .servers()
            .create(&PostParams::default(), &object)
            .await?;
        Ok(())
    }

    pub async fn patch_server(&self, name: &str, patch: Value) -> Result<()> {
        self.world.patch_server(name, patch).await?;
        Ok(())
    }

    pub async fn patch_virtual(&self, name: &str, patch: Value) -> Result<()> {
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        self.world.virtuals().patch(name, &params, &patch).await?;
        Ok(())
    }

    pub async fn annotate<K: Kind>(&self, name: &str, key: &str) -> Result<()> {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: "kept" } } }));
        let params = PatchParams::default();
        self.api::<K>().patch(name, &params, &patch).await?;
        Ok(())
    }

    /// The object as JSON.
    pub async fn server(&self, name: &str) -> Result<Value> {
        let found: MCPServer = self.world.servers().get(name).await?;
        Ok(serde_json::to_value(found)?)
    }

    /// The object as JSON.
    pub async fn virtual_object(&self, name: &str) -> Result<Value> {
        let found: VirtualMCPServer = self.world.virtuals().get(name).await?;
        Ok(serde_json::to_value(found)?)
    }

    pub async fn until_exists<K: Kind>(&self, name: &str) -> Result<K> {
        let found = self.until::<K>(name, "it exists", |_| true).await?;
        Ok(serde_json::from_value(found)?)
    }

    pub async fn until<K: Kind>(
        &self,
        name: &str,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let api = self.api::<K>();
        let what = format!("{} {name}: {what}", K::kind(&()));
        eventually(&what, QUICK, || async {
            let found = serde_json::to_value(api.get(name).await?)?;
            ensure!(good(&found), "{found}");
            Ok(found)
        })
        .await
        .with_context(|| self.operator.program.log_tail())
    }

    pub async fn until_gone<K: Kind>(&self, name: &str) -> Result<()> {
        let api = self.api::<K>();
        let what = format!("{} {name} is gone", K::kind(&()));
        eventually(&what, COLLECTED, || async {
            match api.get_opt(name).await? {
                None => Ok(()),
                Some(_) => Err(anyhow!("still there")),
            }
        })
        .await
        .with_context(|| self.operator.program.log_tail())
    }

    pub async fn until_server(
        &self,
        name: &str,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.until::<MCPServer>(name, what, |found| good(&found["status"]))
            .await
    }

    pub async fn until_virtual(
        &self,
        name: &str,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.until::<VirtualMCPServer>(name, what, |found| good(&found["status"]))
            .await
    }

    /// How often the operator has looked at an MCPServer.
    pub async fn visits(&self) -> Result<u64> {
        let text = vmcp_tests::http::get(self.operator.admin, "/metrics")
            .await?
            .text();
        let prefix = "vmcp_operator_reconcile_total{controller=\"mcpserver\",outcome=\"ok\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(prefix));
        Ok(line.context("no such metric")?.parse()?)
    }

    /// Waits until this operator holds the Lease.
    pub async fn until_leads(&self) -> Result<()> {
        eventually("the operator leads", Duration::from_secs(40), || async {
            let text = vmcp_tests::http::get(self.operator.admin, "/metrics")
                .await?
                .text();
            let leads = text.lines().any(|line| line == "vmcp_operator_leader 1");
            ensure!(leads, "it does not");
            Ok(())
        })
        .await
    }

    /// Waits until the operator has written nothing for a while.
    pub async fn until_quiet(&self) -> Result<()> {
        eventually("the operator is done", Duration::from_secs(60), || async {
            let writes = self.writes_during(QUIET).await;
            ensure!(writes.is_empty(), "{writes:#?}");
            Ok(())
        })
        .await
    }

    /// What the operator wrote within the time, renewals of its Lease apart.
    pub async fn writes_during(&self, time: Duration) -> Vec<AuditEvent> {
        let mark = self.world.plane.audit().mark();
        // Only time shows that nothing happens.
        tokio::time::sleep(time).await;
        self.writes_since(&mark)
    }

    /// What the operator wrote since the mark, renewals of its Lease apart.
    pub fn writes_since(&self, mark: &Mark) -> Vec<AuditEvent> {
        let ours = format!("system:serviceaccount:{}:vmcp-operator", self.world.name());
        let mut events = self.world.plane.audit().since(mark);
        events.retain(|event| event.user == ours && event.is_write() && event.resource != "leases");
        events
    }

    /// Name of the operator that holds the Lease.
    pub async fn leader(&self) -> Result<String> {
        let lease = self.api::<Lease>().get("operator.vmcp.dev").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        holder.context("a Lease without a holder")
    }
}

/// What kstatus says of an object of ours: the rules that Flux and `helm --wait` decide by.
pub fn kstatus(object: &Value) -> &'static str {
    let status = &object["status"];
    if status["observedGeneration"] != object["metadata"]["generation"] {
        return "InProgress";
    }
    let says = |type_: &str| {
        let conditions = status["conditions"].as_array();
        let mut found = conditions
            .into_iter()
            .flatten()
            .filter(|c| c["type"] == type_);
        found
            .next()
            .and_then(|condition| condition["status"].as_str())
    };
    if says("Stalled") == Some("True") {
        return "Failed";
    }
    if says("Reconciling") == Some("True") {
        return "InProgress";
    }
    match says("Ready") {
        Some("False" | "Unknown") => "InProgress",
        _ => "Current",
    }
}

/// `status/reason` of a condition, `-` where it is absent.
pub fn says(status: &Value, type_: &str) -> String {
    let conditions = status["conditions"].as_array();
    let mut found = conditions
        .into_iter()
        .flatten()
        .filter(|c| c["type"] == type_);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    found.next().map_or_else(
        || "-".to_owned(),
        |found| format!("{}/{}", word(&found["status"]), word(&found["reason"])),
    )
}
