//! The closed loop: so many clients, each asks again as soon as it has its answer.
//!
//! Owns samples: how many replies, how fast, at what cost to the subject. Every reply is checked
//! after its time was taken. A failed request is counted with its reason and the loop goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::check;
use crate::client::{Client, Place};
use crate::usage;
use crate::wire::{self, Era};

/// A tool as a subject exposes it.
#[derive(Clone, Debug)]
pub struct Target {
    pub exposed: String,
    pub backend: String,
    pub tool: usize,
}

/// What the clients ask for.
#[derive(Clone, Debug)]
pub enum Work {
    /// Calls. Client `i` starts with target `i`; it goes on with the next one, or stays.
    Calls { targets: Arc<[Target]>, turn: Turn },
    /// Lists of so many tools.
    Lists { tools: usize },
    /// Handshakes, each of a session that is ended outside the measured time.
    Handshakes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    EachCall,
    Never,
}

/// What a loop has shown.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub replies: u64,
    pub failed: u64,
    pub first_error: Option<String>,
    pub p50: Duration,
    pub p99: Duration,
    pub rate: f64,
    /// CPU time of the subject for one reply.
    pub cpu: Duration,
}

/// Clients that are there already, in the order in which they were opened.
#[derive(Debug)]
pub struct Crowd {
    clients: Vec<Client>,
    place: Place,
    era: Era,
    nonce: u64,
}

impl Crowd {
    pub fn new(place: &Place, era: Era) -> Self {
        Self {
            clients: Vec::new(),
            place: place.clone(),
            era,
            nonce: 0,
        }
    }

    /// Opens clients until there are `count`.
    pub async fn grow(&mut self, count: usize) -> Result<()> {
        while self.clients.len() < count {
            self.clients
                .push(Client::open(&self.place, self.era).await?);
        }
        Ok(())
    }

    /// Ends all sessions.
    pub async fn leave(mut self) {
        for client in &mut self.clients {
            // What is measured is measured; a subject without DELETE is not to blame here.
            let _ = client.end().await;
        }
    }

    /// Lets `count` clients work for `time`. Their requests under way at the end are finished and
    /// counted. `pid` is the subject's, where its CPU is asked for.
    pub async fn work(
        &mut self,
        count: usize,
        time: Duration,
        work: &Work,
        pid: Option<u32>,
    ) -> Result<Sample> {
        self.grow(count).await?;
        let rest = self.clients.split_off(count);
        let before = pid.map(usage::cpu).transpose()?;
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for (index, client) in self.clients.drain(..).enumerate() {
            // Nonces of different clients and samples never meet.
            self.nonce += 1;
            let worker = Worker {
                client,
                index,
                prefix: format!("n{}-", self.nonce),
                outcome: Outcome::default(),
            };
            tasks.spawn(worker.run(work.clone(), started + time));
        }
        let mut workers: Vec<Worker> = tasks.join_all().await;
        let took = started.elapsed();
        let after = pid.map(usage::cpu).transpose()?;
        workers.sort_by_key(|worker| worker.index);
        let mut sum = Outcome::default();
        for worker in workers {
            sum.add(worker.outcome);
            self.clients.push(worker.client);
        }
        self.clients.extend(rest);
        let used = after.zip(before).map(|(after, before)| after - before);
        Ok(sum.sample(took, used.unwrap_or_default()))
    }
}

/// What one client has seen.
#[derive(Debug, Default)]
struct Outcome {
    times: Vec<Duration>,
    failed: u64,
    first_error: Option<String>,
}

struct Worker {
    client: Client,
    index: usize,
    prefix: String,
    outcome: Outcome,
}

impl Worker {
    async fn run(mut self, work: Work, end: Instant) -> Self {
        let mut turn = 0_usize;
        while Instant::now() < end {
            match self.one(&work, turn).await {
                Ok(took) => self.outcome.times.push(took),
                Err(error) => {
                    self.outcome.failed += 1;
                    self.outcome
                        .first_error
                        .get_or_insert_with(|| format!("{error:#}"));
                    // A subject that refuses everything must not be asked a million times.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            turn += 1;
        }
        self
    }

    async fn one(&mut self, work: &Work, turn: usize) -> Result<Duration> {
        match work {
            Work::Calls { targets, turn: way } => {
                let step = if *way == Turn::EachCall { turn } else { 0 };
                let target = &targets[(self.index + step) % targets.len()];
                let nonce = format!("{}{turn}-", self.prefix);
                let started = Instant::now();
                let (id, body) = self.client.call(&target.exposed, &nonce).await?;
                let took = started.elapsed();
                let expected = wire::expected(&target.backend, &nonce);
                check::call(&body, id, &expected, check::filler(target.tool))?;
                Ok(took)
            }
            Work::Lists { tools } => {
                let started = Instant::now();
                let (id, body) = self.client.list(None).await?;
                let took = started.elapsed();
                check::list(&body, id, *tools)?;
                Ok(took)
            }
            Work::Handshakes => {
                let started = Instant::now();
                self.client.initialize().await?;
                let took = started.elapsed();
                let _ = self.client.end().await;
                Ok(took)
            }
        }
    }
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.failed += other.failed;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn sample(mut self, took: Duration, used: Duration) -> Sample {
        self.times.sort_unstable();
        let at = |share: usize| {
            let last = self.times.len().saturating_sub(1);
            self.times.get(last * share / 100).copied()
        };
        let replies = self.times.len();
        let each = |total: Duration| total.as_secs_f64() / replies.max(1) as f64;
        Sample {
            replies: replies as u64,
            failed: self.failed,
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            rate: replies as f64 / took.as_secs_f64(),
            cpu: Duration::from_secs_f64(each(used)),
            first_error: self.first_error,
        }
    }
}
