//! `demo`: from `kubectl apply` to Ready on this machine, as a person would see it.
//!
//! Starts a real control plane, the operator and a gateway as processes under the rights that we
//! ship, applies `examples/kubernetes`, and four MCP servers that nobody here wrote, two of them
//! late on purpose. Owns the order and what is printed. Whatever way it ends, everything that it
//! started ends with it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "output for the person who runs it"
)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use vmcp_tests::controlplane::{ControlPlane, Options};
use vmcp_tests::eventually::eventually;
use vmcp_tests::peers::{self, Client, PeerServer, Peers, Server};
use vmcp_tests::sources;
use vmcp_tests::stack::{
    GatewayOptions, GatewayProcess, OperatorProcess, SYSTEM, Scope, apply_yaml, install,
};

/// Where the example objects look for their servers.
const EVERYTHING: u16 = 31_010;
const BRIDGE: u16 = 31_020;
const MODERN: u16 = 31_030;

/// How late the late ones are: long enough to be seen failing.
const LATE: Duration = Duration::from_secs(6);

/// Between two looks at the object.
const LOOK: Duration = Duration::from_millis(250);

/// Until the aggregate is ready, counted from the apply.
const READY: Duration = Duration::from_secs(120);

/// Shows an aggregate of four MCP servers becoming ready on a real Kubernetes API server.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// End after the tool call instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
    /// Address of the gateway's MCP endpoint
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = tokio::select! {
        result = Box::pin(run(&arguments)) => result,
        result = stopped() => result,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn stopped() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("\nstopping: servers, gateway, operator, control plane");
    Ok(())
}

async fn run(arguments: &Arguments) -> Result<()> {
    let peers = peers::installed()?;
    let dir = tempfile::tempdir()?;
    step("starting etcd, kube-apiserver and kube-controller-manager");
    let plane = ControlPlane::start(Options::default()).await?;
    step("installing the CRDs and the operator's rights (crds/, deploy/install.yaml)");
    let system = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SYSTEM },
    });
    apply_yaml(&plane, "default", &system.to_string()).await?;
    install(&plane, SYSTEM, Scope::Cluster).await?;
    step("starting the operator under its own ServiceAccount");
    let operator = OperatorProcess::start(&plane, SYSTEM, Scope::Cluster, dir.path()).await?;
    step("kubectl apply -f examples/kubernetes, with no MCP server running");
    apply_examples(&plane).await?;
    step("starting the gateway under the ServiceAccount that the operator made for it");
    let mut options = GatewayOptions::replica("vmcp-demo-0");
    options.listen = arguments.listen;
    let gateway =
        GatewayProcess::in_cluster(&plane, "default", "demo", &options, dir.path()).await?;

    let watching = watch(&plane);
    let (_servers, ()) = tokio::try_join!(start_servers(&peers), watching)?;
    call(&peers, &gateway).await?;
    show(&plane, &["get", "mcpservers"]).await?;
    farewell(&plane, &gateway, &operator);
    if arguments.once {
        return Ok(());
    }
    std::future::pending().await
}

async fn apply_examples(plane: &ControlPlane) -> Result<()> {
    let folder = sources::root()?.join("examples/kubernetes");
    let folder = folder
        .to_str()
        .context("the path of the checkout is not UTF-8")?;
    show(plane, &["apply", "-f", folder]).await
}

/// Two servers at once, two late.
async fn start_servers(peers: &Peers) -> Result<Vec<PeerServer>> {
    let mut servers = vec![peers.start_on(Server::EverythingHttp, EVERYTHING).await?];
    step("server-everything is up; the others are late on purpose");
    sleep(LATE).await;
    servers.push(peers.start_on(Server::TimeAndGit, BRIDGE).await?);
    step("mcp-server-time and mcp-server-git are up");
    sleep(LATE).await;
    servers.push(peers.start_on(Server::ModernOnlyTs, MODERN).await?);
    step("the modern-only server is up");
    Ok(servers)
}

/// Prints the line of `kubectl get` each time it changes, until it says Ready for all four.
async fn watch(plane: &ControlPlane) -> Result<()> {
    let started = Instant::now();
    let mut last = String::new();
    loop {
        let output = plane.kubectl_run(&["get", "virtualmcpservers"]).await?;
        let text = output.stdout.trim_end();
        let (header, line) = text.split_once('\n').unwrap_or((text, ""));
        // The age changes by itself; what is before it is news.
        let news = line
            .rsplit_once(char::is_whitespace)
            .map_or(line, |(head, _)| head.trim_end());
        if news != last {
            if last.is_empty() {
                println!("          {}", aligned(header));
            }
            println!(
                "  {:5.1} s {}",
                started.elapsed().as_secs_f64(),
                aligned(line)
            );
            news.clone_into(&mut last);
        }
        if news.split_whitespace().any(|word| word == "Ready") && news.contains("4/4") {
            return Ok(());
        }
        if started.elapsed() > READY {
            bail!("not ready after {READY:?}: {text}");
        }
        sleep(LOOK).await;
    }
}

/// A line of kubectl with columns of its own width: kubectl aligns each output anew, and these
/// lines come from many.
fn aligned(line: &str) -> String {
    const WIDTHS: [usize; 6] = [6, 10, 7, 7, 50, 4];
    let cells = line
        .split("   ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty());
    cells
        .zip(WIDTHS)
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect()
}

async fn call(peers: &Peers, gateway: &GatewayProcess) -> Result<()> {
    let arguments = json!({ "timezone": "Europe/Berlin" });
    step("a tool call through the aggregate, by the TypeScript SDK: time_get_current_time");
    let report = eventually("the call answers", Duration::from_secs(60), || async {
        let url = gateway.url();
        peers
            .client(Client::TsV2Auto, &url, "time_get_current_time", &arguments)
            .await
    })
    .await?;
    let result = report.result();
    let text = result["content"][0]["text"]
        .as_str()
        .context("the call answered no text")?;
    ensure!(text.contains("Europe/Berlin"), "{text}");
    println!("{} tools; the call answered:\n{text}", report.tools.len());
    Ok(())
}

async fn show(plane: &ControlPlane, args: &[&str]) -> Result<()> {
    let output = plane.kubectl_run(args).await?;
    ensure!(
        output.success(),
        "kubectl {}: {}",
        args.join(" "),
        output.stderr
    );
    println!("$ kubectl {}\n{}", args.join(" "), output.stdout.trim_end());
    Ok(())
}

fn farewell(plane: &ControlPlane, gateway: &GatewayProcess, operator: &OperatorProcess) {
    let tools = plane
        .kubectl()
        .parent()
        .map(|path| path.display().to_string());
    println!("\nIt is yours until Ctrl-C:");
    println!("  MCP endpoint   {}", gateway.url());
    println!("  health         {}", gateway.admin_url("/health"));
    println!("  status         {}", gateway.admin_url("/status"));
    println!("  metrics        {}", gateway.admin_url("/metrics"));
    println!("  operator       http://{}/metrics", operator.admin);
    println!("  export KUBECONFIG={}", plane.admin_kubeconfig().display());
    println!("  export PATH={}:$PATH", tools.unwrap_or_default());
    println!("  kubectl get virtualmcpservers,mcpservers");
}

fn step(text: &str) {
    println!("==> {text}");
}
