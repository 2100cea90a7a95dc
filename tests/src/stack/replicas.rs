//! Several replicas of one gateway, and what a cluster does for them.
//!
//! Owns the parts of kube-proxy and of the EndpointSlice controller: one address in front of all
//! replicas that gives each connection to the next ready one, and the list of replicas that each of
//! them sees. Knows nothing of MCP and looks into no byte.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use vmcp_crds::VirtualMCPServerSpec;

use super::world::{remote, virtual_server};
use super::{GatewayProcess, SOON};
use crate::eventually::{POLL, eventually};
use crate::http;
use crate::process::Signal;

/// What a stop gives to calls in flight.
const DRAIN: u64 = 10;

/// When a kubelet kills: the grace period of a pod with that drain.
const GRACE: Duration =
    Duration::from_secs(DRAIN + VirtualMCPServerSpec::STOP_SECONDS.unsigned_abs() as u64);

/// Several replicas behind one address.
#[derive(Debug)]
pub struct Replicas {
    /// Where clients go.
    pub address: SocketAddr,
    dir: TempDir,
    members: Arc<Members>,
    running: Vec<(String, GatewayProcess)>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Member {
    pod: String,
    listen: SocketAddr,
    admin: SocketAddr,
    peer: SocketAddr,
    ready: bool,
    clock: Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Runs,
    /// It answers nobody, and nobody has noticed.
    Stands,
}

#[derive(Debug)]
struct Members {
    list: Mutex<Vec<Member>>,
    next: AtomicUsize,
    /// What the replicas read.
    file: PathBuf,
}

impl Replicas {
    /// Starts replicas of these names over remotes of these names and URLs; `extra` is merged into
    /// the spec of the VirtualMCPServer.
    ///
    /// # Errors
    /// One of them does not become ready.
    pub async fn start(backends: &[(&str, String)], extra: Value, pods: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let objects = dir.path().join("objects");
        std::fs::create_dir(&objects)?;
        let manifests = backends.iter().map(|(name, url)| remote(name, url));
        let manifests = manifests.chain([virtual_server("local", extra)]);
        for (at, manifest) in manifests.enumerate() {
            std::fs::write(objects.join(format!("{at}.json")), manifest.to_string())?;
        }
        std::fs::create_dir(dir.path().join("keys"))?;
        std::fs::write(dir.path().join("keys/0"), [7_u8; 32])?;
        let members = Arc::new(Members {
            list: Mutex::default(),
            next: AtomicUsize::new(0),
            file: dir.path().join("peers"),
        });
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(balance(listener, Arc::clone(&members), stop.clone()));
        tokio::spawn(observe(Arc::clone(&members), stop.clone()));
        let mut replicas = Self {
            address,
            dir,
            members,
            running: Vec::new(),
            _stop: stop.drop_guard(),
        };
        for pod in pods {
            replicas.add(pod).await?;
        }
        replicas.settled().await?;
        Ok(replicas)
    }

    /// One more replica, in rotation when this returns.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn add(&mut self, pod: &str) -> Result<()> {
        let folder = |name: &str| self.dir.path().join(name).display().to_string();
        let extra = [
            "--pod-name",
            pod,
            "--session-keys",
            &folder("keys"),
            "--peers",
            &folder("peers"),
            "--peer-listen",
            "127.0.0.1:0",
            "--drain-seconds",
            &DRAIN.to_string(),
        ];
        let home = self.dir.path().join(pod);
        std::fs::create_dir_all(&home)?;
        let objects = self.dir.path().join("objects");
        let gateway = GatewayProcess::from_files(&objects, &extra, &home).await?;
        let member = Member {
            pod: pod.to_owned(),
            listen: gateway.listen,
            admin: gateway.admin,
            peer: gateway.peer.context("a replica without a peer port")?,
            ready: false,
            clock: Clock::Runs,
        };
        self.members.lock().push(member);
        self.running.push((pod.to_owned(), gateway));
        let members = Arc::clone(&self.members);
        eventually(&format!("{pod} is ready"), SOON, || async {
            let ready = members.lock().iter().any(|one| one.pod == pod && one.ready);
            ensure!(ready, "it is not");
            Ok(())
        })
        .await
    }

    /// Waits until every replica has read who the others are, and where.
    ///
    /// # Errors
    /// Never, but for the clock.
    pub async fn settled(&self) -> Result<()> {
        for (other, peer) in self.members.peers() {
            let line = format!("replica found pod={other} address={peer}");
            for (pod, gateway) in &self.running {
                let log = gateway.program.wait_for_line(&line, SOON).await;
                log.with_context(|| format!("{pod} does not know {other}"))?;
            }
        }
        Ok(())
    }

    /// One replica itself, past the balancer.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn replica(&self, pod: &str) -> Result<&GatewayProcess> {
        let mut running = self.running.iter();
        let found = running.find(|(name, _)| name == pod);
        Ok(&found.with_context(|| format!("no replica {pod}"))?.1)
    }

    /// Stops a replica as a cluster does, and waits until it is gone.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub async fn retire(&mut self, pod: &str) -> Result<()> {
        let gateway = self.take(pod)?;
        let exit = gateway.program.terminate(GRACE).await?;
        self.members.lock().retain(|member| member.pod != pod);
        ensure!(
            exit.code() == Some(0),
            "{pod}: {exit}: {}",
            gateway.program.log_tail()
        );
        Ok(())
    }

    /// Kills a replica without a warning.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(&mut self, pod: &str) -> Result<()> {
        let gateway = self.take(pod)?;
        gateway.program.kill()
    }

    /// Stops a replica's clock: it still takes connections, and looks ready to the others.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn freeze(&self, pod: &str) -> Result<()> {
        self.members.set_clock(pod, Clock::Stands);
        self.replica(pod)?.program.signal(Signal::STOP)
    }

    /// It goes on where it was.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn thaw(&self, pod: &str) -> Result<()> {
        self.replica(pod)?.program.signal(Signal::CONT)?;
        self.members.set_clock(pod, Clock::Runs);
        Ok(())
    }

    /// Takes a dead replica off the list that the others see.
    pub fn forget(&self, pod: &str) {
        self.members.lock().retain(|member| member.pod != pod);
    }

    fn take(&mut self, pod: &str) -> Result<GatewayProcess> {
        let at = self.running.iter().position(|(name, _)| name == pod);
        let at = at.with_context(|| format!("no replica {pod}"))?;
        Ok(self.running.remove(at).1)
    }
}

impl Members {
    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_clock(&self, pod: &str, clock: Clock) {
        let mut list = self.lock();
        if let Some(member) = list.iter_mut().find(|member| member.pod == pod) {
            member.clock = clock;
        }
    }

    /// The next one in rotation.
    fn next(&self) -> Option<SocketAddr> {
        let list = self.lock();
        let ready: Vec<SocketAddr> = list
            .iter()
            .filter(|member| member.ready)
            .map(|member| member.listen)
            .collect();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        ready.get(turn.checked_rem(ready.len())?).copied()
    }

    fn peers(&self) -> Vec<(String, SocketAddr)> {
        let list = self.lock();
        let peers = list.iter().map(|member| (member.pod.clone(), member.peer));
        peers.collect()
    }

    fn roster(&self) -> String {
        let line = |member: &Member| {
            let standing = if member.ready { "" } else { " unready" };
            format!("{} {}{standing}\n", member.pod, member.peer)
        };
        self.lock().iter().map(line).collect()
    }
}

/// Gives each connection to the next ready replica.
async fn balance(listener: TcpListener, members: Arc<Members>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((mut client, _)) = accepted else {
            continue;
        };
        let Some(target) = members.next() else {
            continue;
        };
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect(target).await {
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

/// Asks each replica whether it is ready, and tells all of them.
async fn observe(members: Arc<Members>, stop: CancellationToken) {
    let mut told = String::new();
    while !stop.is_cancelled() {
        let asked: Vec<_> = members
            .lock()
            .iter()
            .filter(|member| member.clock == Clock::Runs)
            .map(|member| (member.pod.clone(), member.admin))
            .collect();
        for (pod, admin) in asked {
            let answer = http::get(admin, "/readyz").await;
            let ready = answer.is_ok_and(|answer| answer.status == 200);
            let mut list = members.lock();
            if let Some(member) = list.iter_mut().find(|member| member.pod == pod) {
                member.ready = ready;
            }
        }
        let roster = members.roster();
        let draft = members.file.with_extension("draft");
        let written = roster == told
            || std::fs::write(&draft, &roster)
                .and_then(|()| std::fs::rename(&draft, &members.file))
                .is_ok();
        if written {
            told = roster;
        }
        tokio::time::sleep(POLL).await;
    }
}
