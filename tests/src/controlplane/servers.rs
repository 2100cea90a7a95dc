//! The three servers: their flags, their start, and waiting until they serve.
//!
//! Owns the processes. Ready means that a client was answered, never that time has passed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};

use crate::eventually::eventually;
use crate::process::{Launch, Program};

use super::access::{Login, client_from, kubeconfig};
use super::folder::Folder;
use super::pki::{self, Pki};
use super::tools::Tools;
use super::{Controllers, audit, ports};

/// The API server is ready in 3 s on a free machine; a busy one takes its time.
const API_READY: Duration = Duration::from_secs(90);
/// The controllers make the first ServiceAccount about 6 s later.
const CONTROLLERS_READY: Duration = Duration::from_secs(90);

/// Far more than a test run writes: a rotation would take events away from a test.
const AUDIT_LOG_MEGABYTES: &str = "8192";

/// The user of tests and of people, in the audit log too.
const ADMIN: pki::Client = pki::Client {
    user: "admin",
    group: Some("system:masters"),
};
const CONTROLLER_MANAGER: pki::Client = pki::Client {
    user: "system:kube-controller-manager",
    group: None,
};

/// Everything about a start that does not change with a restart.
#[derive(Debug)]
pub(super) struct Plan {
    pub url: String,
    pub ca_pem: String,
    pub admin_kubeconfig: PathBuf,
    pub audit_log: PathBuf,
    etcd: Launch,
    apiserver: Launch,
    controllers: Option<Launch>,
}

impl Plan {
    /// Makes keys, picks ports, and writes the files that the servers read.
    pub fn create(folder: &Folder, tools: &Tools, controllers: Controllers) -> Result<Self> {
        let pki = Pki::create(&folder.path().join("pki"))?;
        let [etcd_port, peer_port, api_port, controllers_port] = ports::free()?;
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let url = format!("https://127.0.0.1:{api_port}");
        let login = |client: pki::Client, file: &str| -> Result<PathBuf> {
            let path = folder.path().join(file);
            let login = Login::Certificate(pki.client(client)?);
            let text = kubeconfig(&url, &pki.ca_pem, &login, "default");
            pki::secret(&path, &text)?;
            Ok(path)
        };
        let manager = login(CONTROLLER_MANAGER, "controller-manager.kubeconfig")?;
        Ok(Self {
            admin_kubeconfig: login(ADMIN, "admin.kubeconfig")?,
            audit_log: folder.path().join("audit.log"),
            etcd: etcd(folder.path(), tools, &etcd_url, peer_port),
            apiserver: apiserver(folder.path(), tools, &pki, &etcd_url, api_port)?,
            controllers: (controllers == Controllers::Run).then(|| {
                controller_manager(folder.path(), tools, &pki, &manager, controllers_port)
            }),
            ca_pem: pki.ca_pem,
            url,
        })
    }
}

fn etcd(folder: &Path, tools: &Tools, url: &str, peer_port: u16) -> Launch {
    let peer = format!("http://127.0.0.1:{peer_port}");
    Launch::new(&tools.etcd)
        .arg(flag("data-dir", folder.join("etcd").display()))
        .arg(flag("listen-client-urls", url))
        .arg(flag("advertise-client-urls", url))
        .arg(flag("listen-peer-urls", &peer))
        .arg(flag("initial-advertise-peer-urls", &peer))
        .arg(flag("initial-cluster", format!("default={peer}")))
        // Nothing here has to survive a power cut.
        .arg("--unsafe-no-fsync")
}

fn apiserver(folder: &Path, tools: &Tools, pki: &Pki, etcd_url: &str, port: u16) -> Result<Launch> {
    let policy = folder.join("audit-policy.yaml");
    pki::secret(&policy, audit::POLICY)?;
    let file = |name: &str| pki.file(name).display().to_string();
    Ok(Launch::new(&tools.apiserver)
        .arg(flag("etcd-servers", etcd_url))
        .arg("--bind-address=127.0.0.1")
        .arg("--advertise-address=198.51.100.1")
        .arg(flag("secure-port", port))
        .arg(flag("tls-cert-file", file("apiserver.crt")))
        .arg(flag("tls-private-key-file", file("apiserver.key")))
        .arg(flag("client-ca-file", file("ca.crt")))
        .arg("--anonymous-auth=false")
        .arg("--authorization-mode=Node,RBAC")
        .arg("--enable-admission-plugins=NodeRestriction")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(flag("service-account-key-file", file("sa.pub")))
        .arg(flag("service-account-signing-key-file", file("sa.key")))
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        .arg("--allow-privileged")
        .arg(flag("cert-dir", folder.join("apiserver").display()))
        .arg(flag("audit-policy-file", policy.display()))
        .arg(flag("audit-log-path", folder.join("audit.log").display()))
        .arg(flag("audit-log-maxsize", AUDIT_LOG_MEGABYTES)))
}

fn controller_manager(
    folder: &Path,
    tools: &Tools,
    pki: &Pki,
    kubeconfig: &Path,
    port: u16,
) -> Launch {
    let file = |name: &str| pki.file(name).display().to_string();
    Launch::new(&tools.controller_manager)
        .arg(flag("kubeconfig", kubeconfig.display()))
        .arg(flag("authentication-kubeconfig", kubeconfig.display()))
        .arg(flag("authorization-kubeconfig", kubeconfig.display()))
        .arg(flag("service-account-private-key-file", file("sa.key")))
        .arg(flag("root-ca-file", file("ca.crt")))
        .arg(flag("cluster-signing-cert-file", file("ca.crt")))
        .arg(flag("cluster-signing-key-file", file("ca.key")))
        .arg("--use-service-account-credentials")
        .arg("--leader-elect=false")
        .arg("--bind-address=127.0.0.1")
        .arg(flag("secure-port", port))
        .arg(flag(
            "cert-dir",
            folder.join("controller-manager").display(),
        ))
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

/// The running servers. Fields are in the order in which they are killed.
#[derive(Debug)]
pub(super) struct Servers {
    controllers: Option<Program>,
    apiserver: Mutex<Option<Program>>,
    etcd: Program,
}

/// How long the parts of a start took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Startup {
    pub api_ready: Duration,
    pub ready: Duration,
}

impl Servers {
    /// Starts all and waits until they serve.
    pub async fn start(folder: &Folder, plan: &Plan) -> Result<(Self, Startup)> {
        let started = Instant::now();
        let etcd = spawn(folder, "etcd", &plan.etcd)?;
        let mut servers = Self {
            controllers: None,
            apiserver: Mutex::new(Some(spawn(folder, "kube-apiserver", &plan.apiserver)?)),
            etcd,
        };
        let client = client_from(&plan.admin_kubeconfig).await?;
        servers.wait_for_api(&client).await?;
        let api_ready = started.elapsed();
        if let Some(launch) = &plan.controllers {
            servers.controllers = Some(spawn(folder, "kube-controller-manager", launch)?);
            servers.wait_for_controllers(&client).await?;
        }
        let ready = started.elapsed();
        Ok((servers, Startup { api_ready, ready }))
    }

    /// Ends the API server at once; clients see their connections break.
    pub fn kill_apiserver(&self) -> Result<()> {
        match self.apiserver().take() {
            Some(program) => program.kill(),
            None => Ok(()),
        }
    }

    /// Starts the API server again, on the same port and data, and waits until it serves.
    pub async fn restart_apiserver(&self, folder: &Folder, plan: &Plan) -> Result<()> {
        self.kill_apiserver()?;
        let program = spawn(folder, "kube-apiserver", &plan.apiserver)?;
        *self.apiserver() = Some(program);
        self.wait_for_api(&client_from(&plan.admin_kubeconfig).await?)
            .await
    }

    /// Which server ended without being told to, and its last words.
    pub fn casualty(&self) -> Option<String> {
        let apiserver = self.apiserver();
        [
            self.controllers.as_ref(),
            apiserver.as_ref(),
            Some(&self.etcd),
        ]
        .into_iter()
        .flatten()
        .find_map(|program| {
            let status = program.exited().ok().flatten()?;
            let log = program.log_path().display();
            Some(format!("{status}, log {log}:\n{}", program.log_tail()))
        })
    }

    async fn wait_for_api(&self, client: &Client) -> Result<()> {
        self.wait("the API server is ready", API_READY, || async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await?;
            Ok(())
        })
        .await
    }

    async fn wait_for_controllers(&self, client: &Client) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        self.wait("the controllers work", CONTROLLERS_READY, || async {
            accounts.get("default").await?;
            Ok(())
        })
        .await
    }

    /// Like [`eventually`], but a server that ended ends it too.
    async fn wait<F, Fut>(&self, what: &str, within: Duration, ask: F) -> Result<()>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<()>>,
    {
        let answer = eventually(what, within, || async {
            match (ask().await, self.casualty()) {
                (Ok(()), None) => Ok(Ok(())),
                (_, Some(casualty)) => Ok(Err(anyhow!("a server ended: {casualty}"))),
                (Err(error), None) => bail!("{error:#}"),
            }
        });
        answer
            .await
            .and_then(|ended| ended)
            .with_context(|| format!("last lines of etcd:\n{}", self.etcd.log_tail()))
    }

    fn apiserver(&self) -> MutexGuard<'_, Option<Program>> {
        self.apiserver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(folder: &Folder, name: &str, launch: &Launch) -> Result<Program> {
    let program = launch.start(folder.log(name))?;
    folder.note_pid(name, program.pid())?;
    Ok(program)
}
