//! One namespace of the real API server, and the few requests that these tests make of it.

use std::time::Duration;

use http::{Method, Request};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use vmcp_crds::schema::crds;
use vmcp_tests::controlplane;
use vmcp_tests::eventually::eventually;

/// Longest wait for one answer of the API server.
const DEADLINE: Duration = Duration::from_secs(30);

/// The API server with the CRDs installed, and a namespace of this test alone.
pub struct Server {
    pub client: Client,
    pub namespace: controlplane::Namespace,
}

/// What the API server said.
pub type Answer = Result<Value, String>;

impl Server {
    pub async fn new(test: &str) -> Self {
        let plane = controlplane::shared().await.unwrap();
        let namespace = plane.namespace(test).await.unwrap();
        let client = plane.admin().await.unwrap();
        install_crds(&client).await;
        Self { client, namespace }
    }

    /// Runs kubectl in this namespace and returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let plane = controlplane::shared().await.unwrap();
        let mut all = vec!["-n", self.namespace.name.as_str()];
        all.extend_from_slice(arguments);
        plane.kubectl_run(&all).await.unwrap().ok().unwrap()
    }

    /// Would the API server take this object? Nothing is stored. Unknown fields are
    /// refused, as kubectl asks for.
    pub async fn judge(&self, object: &Value) -> Answer {
        let query = "?dryRun=All&fieldValidation=Strict";
        self.send(
            Method::POST,
            &format!("{}{query}", self.path(object, None)),
            object,
        )
        .await
    }

    pub async fn create(&self, object: &Value) -> Answer {
        let query = "?fieldValidation=Strict";
        self.send(
            Method::POST,
            &format!("{}{query}", self.path(object, None)),
            object,
        )
        .await
    }

    /// Replaces the status of an object that exists.
    pub async fn replace_status(&self, object: &Value) -> Answer {
        let path = self.path(object, Some("/status?fieldValidation=Strict"));
        self.send(Method::PUT, &path, object).await
    }

    pub async fn get(&self, object: &Value, below: &str) -> Answer {
        self.send(Method::GET, &self.path(object, Some(below)), &Value::Null)
            .await
    }

    pub async fn patch(&self, object: &Value, below: &str, change: &Value) -> Answer {
        self.send(Method::PATCH, &self.path(object, Some(below)), change)
            .await
    }

    fn path(&self, object: &Value, below: Option<&str>) -> String {
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
        let namespace = &self.namespace.name;
        let list = format!("/apis/vmcp.dev/v1alpha1/namespaces/{namespace}/{plural}");
        match below {
            None => list,
            Some(below) => {
                format!(
                    "{list}/{}{below}",
                    object["metadata"]["name"].as_str().unwrap()
                )
            }
        }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let media_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = match body {
            Value::Null => Vec::new(),
            body => serde_json::to_vec(body).unwrap(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .body(bytes)
            .unwrap();
        let answer = tokio::time::timeout(DEADLINE, self.client.request::<Value>(request)).await;
        match answer.expect("the API server did not answer in time") {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(other) => panic!("the API server could not be asked: {other:?}"),
        }
    }
}

/// An object of `kind` with this spec.
pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "vmcp.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// Installs the CRDs as they are generated now and waits until they are served. Safe to
/// do from several tests at once.
async fn install_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let parameters = PatchParams::apply("vmcp-tests").force();
    for file in crds().unwrap() {
        let name = file.crd["metadata"]["name"].as_str().unwrap();
        api.patch(name, &parameters, &Patch::Apply(&file.crd))
            .await
            .unwrap();
        eventually("the CRD is established", DEADLINE, || async {
            let status = api.get(name).await?.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let is_established = conditions
                .iter()
                .any(|c| c.type_ == "Established" && c.status == "True");
            anyhow::ensure!(is_established, "conditions: {conditions:?}");
            Ok(())
        })
        .await
        .unwrap();
    }
}
