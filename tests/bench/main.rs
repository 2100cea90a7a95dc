//! `bench`: what the gateway costs beside the least that could be done, and beside its rivals.
//!
//! Owns the command line. One program plays all parts, each in a process of its own: the load, the
//! fast backends, the raw reference multiplexer. It promises no numbers; it shows ratios within one
//! interleaved run, and fails if any reply of ours was wrong.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "output for the person who runs it"
)]
#![expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below the limit"
)]

mod alone;
mod backend;
mod check;
mod client;
mod figures;
mod fleet;
mod hurt;
mod load;
mod plan;
mod reference;
mod report;
mod subject;
mod usage;
mod wire;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use plan::{Run, Size};
use subject::Subject;

#[derive(Debug, Parser)]
#[command(about = "What the gateway costs, on this machine")]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// A short run without rivals that shows only that everything works.
    #[arg(long)]
    quick: bool,
    /// Without this rival; may be given several times.
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,
    /// Only the direct way, the reference and our gateway.
    #[arg(long)]
    no_rivals: bool,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one sample.
    #[arg(long, default_value_t = 1_000)]
    sample_ms: u64,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Fast MCP servers.
    Backend(backend::Options),
    /// The raw reference multiplexer.
    Reference(reference::Options),
    /// One load against one address, for a profiler.
    Load(alone::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.part {
        Some(Part::Backend(options)) => backend::run(options).await,
        Some(Part::Reference(options)) => reference::run(options).await,
        Some(Part::Load(options)) => {
            println!("{}", alone::run(options).await?);
            Ok(())
        }
        None => measure(&cli).await,
    }
}

async fn measure(cli: &Cli) -> Result<()> {
    let size = if cli.quick {
        Size::quick()
    } else {
        Size::full(cli.rounds, Duration::from_millis(cli.sample_ms))
    };
    let folder = tempfile::tempdir()?;
    let mut run = Run::new(size, folder.path());
    for name in &cli.without {
        let known = Subject::RIVALS.iter().any(|rival| rival.name() == name);
        ensure!(known, "--without: no rival is named {name:?}");
    }
    let mut subjects = Subject::OURS.to_vec();
    for rival in Subject::RIVALS {
        if cli.quick || cli.no_rivals {
            continue;
        }
        if cli.without.iter().any(|name| name == rival.name()) {
            run.figures.note(format!("{}: left out", rival.name()));
            continue;
        }
        match rival.absent() {
            Some(why) => run.figures.note(format!("{}: {why}", rival.name())),
            None => subjects.push(rival),
        }
    }
    run.go(&subjects).await?;
    // An absent rival keeps its column, so that it is seen to be absent.
    if !cli.quick && !cli.no_rivals {
        subjects.extend(
            Subject::RIVALS
                .iter()
                .filter(|rival| !subjects.contains(rival))
                .copied()
                .collect::<Vec<_>>(),
        );
    }
    let figures = &run.figures;
    println!(
        "{} cores, {} rounds, samples of {} ms, {} replies checked, {} wrong",
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        run.size.rounds,
        run.size.sample.as_millis(),
        figures.replies,
        figures.wrong
    );
    println!("{}", report::tables(figures, &subjects));
    println!("{}", report::checklist(figures, &run.size));
    if !figures.notes.is_empty() {
        println!("\n### Notes\n");
        for note in &figures.notes {
            println!("- {note}");
        }
    }
    ensure!(figures.wrong == 0, "{} wrong replies", figures.wrong);
    Ok(())
}
