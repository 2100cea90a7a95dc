//! One kind of load against one address, for a profiler to look at the subject meanwhile.
//!
//! Never compares: that is what the run is for.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::client::Place;
use crate::load::{Crowd, Turn, Work};
use crate::plan::of_tool;
use crate::subject;
use crate::wire::{BIG_TOOL, Era, SMALL_TOOL};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Calls,
    BigCalls,
    Lists,
}

#[derive(Args, Debug)]
pub struct Options {
    #[arg(long)]
    address: SocketAddr,
    /// The process whose CPU is counted.
    #[arg(long)]
    pid: u32,
    #[arg(long)]
    legacy: bool,
    #[arg(long, value_enum, default_value = "calls")]
    what: What,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Servers and tools behind the address.
    #[arg(long, default_value_t = 20)]
    backends: usize,
    #[arg(long, default_value_t = 20)]
    tools: usize,
}

/// Loads and says what it cost.
pub async fn run(options: Options) -> Result<String> {
    let place = Place::at(options.address);
    let era = if options.legacy {
        Era::Legacy
    } else {
        Era::Modern
    };
    let targets = subject::all_targets(&place, era, options.backends, options.tools).await?;
    let turn = if options.legacy {
        Turn::Never
    } else {
        Turn::EachCall
    };
    let tool = match options.what {
        What::BigCalls => BIG_TOOL,
        What::Calls | What::Lists => SMALL_TOOL,
    };
    let work = match options.what {
        What::Lists => Work::Lists {
            tools: targets.len(),
        },
        What::Calls | What::BigCalls => Work::Calls {
            targets: of_tool(&targets, tool),
            turn,
        },
    };
    let mut crowd = Crowd::new(&place, era);
    let count = options.connections;
    crowd
        .work(count, Duration::from_millis(300), &work, None)
        .await?;
    let time = Duration::from_secs(options.seconds);
    let sample = crowd.work(count, time, &work, Some(options.pid)).await?;
    crowd.leave().await;
    ensure!(sample.failed == 0, "{:?}", sample.first_error);
    Ok(format!(
        "{:.0} /s, p50 {:?}, p99 {:?}, cpu {:?}",
        sample.rate, sample.p50, sample.p99, sample.cpu
    ))
}
