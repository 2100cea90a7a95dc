//! Ways into the API server: clients, kubectl, tokens and kubeconfigs.
//!
//! Every request of the harness itself has a deadline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::process::{Launch, Output};

use super::ControlPlane;
use super::pki::{Pair, secret};

/// Longer than any single request takes, even while the machine compiles.
pub(super) const REQUEST: Duration = Duration::from_secs(30);
/// kubectl asks for the whole API before it does anything.
const KUBECTL: Duration = Duration::from_secs(60);
/// Longer than any test runs.
const TOKEN_SECONDS: i64 = 3600;

/// What a kubeconfig proves its user with.
pub(super) enum Login {
    Certificate(Pair),
    Token(String),
}

impl ControlPlane {
    /// A client of the admin, with connections of its own.
    ///
    /// # Errors
    /// The kubeconfig is gone: the control plane has ended.
    pub async fn admin(&self) -> Result<Client> {
        client_from(self.admin_kubeconfig()).await
    }

    /// kubectl as the admin, to its end; a failure of kubectl is in the [`Output`].
    ///
    /// # Errors
    /// It cannot be started, or takes longer than a minute.
    pub async fn kubectl_run(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_launch().args(args).run(KUBECTL).await
    }

    /// kubectl as the admin, not yet started: for `get --watch` and the like.
    #[must_use]
    pub fn kubectl_launch(&self) -> Launch {
        let cache = self.directory().join("kubectl-cache");
        Launch::new(self.kubectl())
            .env("KUBECONFIG", self.admin_kubeconfig())
            .env("KUBECACHEDIR", cache)
    }

    /// A token of a ServiceAccount for one hour, as a Pod gets one.
    ///
    /// # Errors
    /// There is no such ServiceAccount.
    pub async fn token(&self, namespace: &str, service_account: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await?, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = timed(
            "a token",
            accounts.create_token_request(service_account, &PostParams::default(), &request),
        )
        .await
        .with_context(|| format!("ServiceAccount {namespace}/{service_account}"))?;
        answer
            .status
            .and_then(|status| status.token)
            .context("no token in the answer")
    }

    /// Writes a kubeconfig with a token of this ServiceAccount into `dir` and returns its path.
    ///
    /// # Errors
    /// There is no such ServiceAccount, or the file cannot be written.
    pub async fn kubeconfig_for(
        &self,
        namespace: &str,
        service_account: &str,
        dir: &Path,
    ) -> Result<PathBuf> {
        let login = Login::Token(self.token(namespace, service_account).await?);
        let path = dir.join(format!("{namespace}-{service_account}.kubeconfig"));
        secret(
            &path,
            &kubeconfig(self.url(), self.ca_pem(), &login, namespace),
        )?;
        Ok(path)
    }
}

/// A client that this kubeconfig describes.
pub(super) async fn client_from(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("reading {}", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("understanding {}", kubeconfig.display()))?;
    Client::try_from(config).context("a client of the API server")
}

/// The text of a kubeconfig; JSON is YAML.
pub(super) fn kubeconfig(url: &str, ca_pem: &str, login: &Login, namespace: &str) -> String {
    let user = match login {
        Login::Certificate(pair) => json!({
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }),
        Login::Token(token) => json!({ "token": token }),
    };
    let cluster = json!({
        "server": url,
        "certificate-authority-data": STANDARD.encode(ca_pem),
    });
    format!(
        "{:#}\n",
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{
                "name": "test",
                "context": { "cluster": "test", "user": "test", "namespace": namespace },
            }],
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
        })
    )
}

/// Waits for an answer of the API server, but not for ever.
pub(super) async fn timed<T>(
    what: &str,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    tokio::time::timeout(REQUEST, answer)
        .await
        .with_context(|| format!("no answer within {REQUEST:?}: {what}"))?
        .context(what.to_owned())
}
