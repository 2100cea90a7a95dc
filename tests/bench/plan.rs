//! The interleaved run: every subject in turn, in every round.
//!
//! Owns the order of things and the sizes. A subject is started anew for each stage and ended
//! after it, so that none is measured while another works beside it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::figures::{Cell, Figures, Metric, Scenario};
use crate::fleet::Fleet;
use crate::hurt;
use crate::load::{Crowd, Sample, Target, Turn, Work};
use crate::subject::{Running, Subject};
use crate::usage;
use crate::wire::{BIG_TOOL, Era, Kind, SMALL_TOOL};

/// Sessions that say nothing are counted after so long a silence: all that a subject keeps for the
/// next word of a client just heard is no memory of idle sessions.
const SILENCE: Duration = Duration::from_secs(2);

/// How much is done.
#[derive(Clone, Debug)]
pub struct Size {
    pub rounds: usize,
    pub sample: Duration,
    pub warm: Duration,
    pub connections: Vec<usize>,
    pub backends: usize,
    pub few: usize,
    pub tools: usize,
    pub sessions: usize,
    /// How long a recovery is waited for.
    pub patience: Duration,
}

impl Size {
    pub fn full(rounds: usize, sample: Duration) -> Self {
        Self {
            rounds,
            sample,
            warm: Duration::from_millis(400),
            connections: vec![1, 32, 256],
            backends: 20,
            few: 5,
            tools: 20,
            sessions: 1_000,
            patience: Duration::from_secs(12),
        }
    }

    /// Enough to see that everything works, and to say nothing about speed.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            sample: Duration::from_millis(100),
            warm: Duration::from_millis(50),
            connections: vec![1, 8],
            backends: 4,
            few: 2,
            tools: 5,
            sessions: 20,
            patience: Duration::from_secs(3),
        }
    }

    /// The number of connections of the figures that need only one.
    pub fn usual(&self) -> usize {
        self.connections[1.min(self.connections.len() - 1)]
    }
}

/// A run under way.
pub struct Run<'a> {
    pub size: Size,
    pub folder: &'a Path,
    pub figures: Figures,
    /// Pairs of eras that a subject was seen not to serve.
    refused: HashMap<(Subject, Cell), String>,
    starts: usize,
    unstarted: Vec<(Subject, Kind)>,
}

/// One subject before one fleet in one round.
pub struct Visit<'a> {
    pub subject: Subject,
    pub round: usize,
    pub running: &'a Running,
    pub cell: Cell,
    pub targets: &'a [Target],
}

impl<'a> Run<'a> {
    pub fn new(size: Size, folder: &'a Path) -> Self {
        Self {
            size,
            folder,
            figures: Figures::default(),
            refused: HashMap::new(),
            starts: 0,
            unstarted: Vec::new(),
        }
    }

    pub async fn go(&mut self, subjects: &[Subject]) -> Result<()> {
        let (tools, folder) = (self.size.tools, self.folder);
        let mut modern = Fleet::start(Kind::Modern, self.size.backends, tools, folder).await?;
        let mut stateful = Fleet::start(Kind::Stateful, self.size.backends, tools, folder).await?;
        let few = Fleet::start(Kind::Modern, self.size.few, tools, folder).await?;
        for round in 0..self.size.rounds {
            for subject in subjects {
                eprintln!("round {}: {}, modern", round + 1, subject.name());
                let cells = [Cell::ModernModern, Cell::LegacyModern];
                let done = self.many(*subject, round, &mut modern, &cells).await;
                self.figures.bear(*subject, done)?;
            }
            for subject in subjects {
                eprintln!("round {}: {}, stateful", round + 1, subject.name());
                let cells = [Cell::LegacyStateful];
                let done = self.many(*subject, round, &mut stateful, &cells).await;
                self.figures.bear(*subject, done)?;
            }
            for subject in subjects {
                eprintln!("round {}: {}, few and sessions", round + 1, subject.name());
                let done = self.few(*subject, round, &few).await;
                self.figures.bear(*subject, done)?;
                let done = self.sessions(*subject, round, &stateful).await;
                self.figures.bear(*subject, done)?;
            }
        }
        Ok(())
    }

    /// Calls and lists of many backends, in all pairs of eras of this fleet.
    async fn many(
        &mut self,
        subject: Subject,
        round: usize,
        fleet: &mut Fleet,
        cells: &[Cell],
    ) -> Result<()> {
        let Some(running) = self.start(subject, fleet).await? else {
            return Ok(());
        };
        for cell in cells {
            if subject == Subject::Direct && *cell == Cell::LegacyModern {
                continue;
            }
            let Some(targets) = self.targets(subject, &running, fleet, *cell).await else {
                continue;
            };
            let visit = Visit {
                subject,
                round,
                running: &running,
                cell: *cell,
                targets: &targets,
            };
            self.load(&visit, fleet).await?;
            // What breaks things comes last, and once is enough for those that take minutes.
            let hurts = subject != Subject::Direct && *cell != Cell::LegacyModern;
            if hurts && (!subject.is_rival() || round == 0) {
                hurt::hung(self, &visit, fleet).await?;
                hurt::killed(self, &visit, fleet).await?;
            }
        }
        Ok(())
    }

    async fn load(&mut self, visit: &Visit<'_>, fleet: &Fleet) -> Result<()> {
        let cell = visit.cell;
        // A client of a stateful backend stays with one: else every client would have a session
        // with every backend, and the opening of thousands of sessions would be measured.
        let turn = if cell == Cell::LegacyStateful {
            Turn::Never
        } else {
            Turn::EachCall
        };
        let of = |tool: usize| Work::Calls {
            targets: of_tool(visit.targets, tool),
            turn,
        };
        let mut crowd = Crowd::new(&visit.running.place, cell.client());
        for connections in self.size.connections.clone() {
            let scenario = Scenario::Calls(cell, connections);
            self.sample(visit, &mut crowd, scenario, &of(SMALL_TOOL))
                .await?;
        }
        if cell != Cell::LegacyModern {
            let scenario = Scenario::BigCalls(cell, self.size.usual());
            self.sample(visit, &mut crowd, scenario, &of(BIG_TOOL))
                .await?;
            if visit.subject != Subject::Direct {
                let tools = visit.targets.len();
                let scenario = Scenario::Lists(cell, fleet.count());
                self.sample(visit, &mut crowd, scenario, &Work::Lists { tools })
                    .await?;
            }
        }
        crowd.leave().await;
        Ok(())
    }

    /// Lists and handshakes before few backends.
    async fn few(&mut self, subject: Subject, round: usize, fleet: &Fleet) -> Result<()> {
        let Some(running) = self.start(subject, fleet).await? else {
            return Ok(());
        };
        if subject != Subject::Direct
            && let Some(targets) = self
                .targets(subject, &running, fleet, Cell::ModernModern)
                .await
        {
            let visit = Visit {
                subject,
                round,
                running: &running,
                cell: Cell::ModernModern,
                targets: &targets,
            };
            let mut crowd = Crowd::new(&running.place, Era::Modern);
            let tools = targets.len();
            let scenario = Scenario::Lists(Cell::ModernModern, fleet.count());
            self.sample(&visit, &mut crowd, scenario, &Work::Lists { tools })
                .await?;
        }
        Ok(())
    }

    /// Memory, idle and with sessions, and the handshake; each client keeps its connection.
    async fn sessions(&mut self, subject: Subject, round: usize, fleet: &Fleet) -> Result<()> {
        let cell = Cell::LegacyStateful;
        let Some(running) = self.start(subject, fleet).await? else {
            return Ok(());
        };
        let Some(targets) = self.targets(subject, &running, fleet, cell).await else {
            return Ok(());
        };
        let pid = running.pid();
        let resident = |figures: &mut Figures, scenario| -> Result<()> {
            if let Some(pid) = pid {
                let mib = usage::resident(pid)? as f64 / 1024.0;
                figures.put((Metric::Resident, scenario), subject, round, mib);
            }
            Ok(())
        };
        resident(&mut self.figures, Scenario::Idle)?;
        if subject != Subject::Direct && (!subject.is_rival() || round == 0) {
            let mut crowd = Crowd::new(&running.place, cell.client());
            crowd.grow(self.size.sessions).await?;
            tokio::time::sleep(SILENCE).await;
            resident(&mut self.figures, Scenario::Sessions)?;
            crowd.leave().await;
        }
        let visit = Visit {
            subject,
            round,
            running: &running,
            cell,
            targets: &targets,
        };
        let mut crowd = Crowd::new(&running.place, cell.client());
        let scenario = Scenario::Handshakes(fleet.count());
        self.sample(&visit, &mut crowd, scenario, &Work::Handshakes)
            .await?;
        crowd.leave().await;
        Ok(())
    }

    /// Warms up, measures, and writes down.
    async fn sample(
        &mut self,
        visit: &Visit<'_>,
        crowd: &mut Crowd,
        scenario: Scenario,
        work: &Work,
    ) -> Result<()> {
        let count = match scenario {
            Scenario::Calls(_, connections) | Scenario::BigCalls(_, connections) => connections,
            _ => 1,
        };
        let pid = visit.running.pid();
        let warm = crowd.work(count, self.size.warm, work, None).await?;
        self.count(visit, scenario, &warm);
        let sample = crowd.work(count, self.size.sample, work, pid).await?;
        self.count(visit, scenario, &sample);
        self.write(visit, scenario, &sample);
        Ok(())
    }

    /// Replies and failures; a failure where nothing was broken is told.
    fn count(&mut self, visit: &Visit<'_>, scenario: Scenario, sample: &Sample) {
        self.figures.replies += sample.replies;
        if sample.failed == 0 {
            return;
        }
        if !visit.subject.is_rival() {
            self.figures.wrong += sample.failed;
        }
        self.figures.note(format!(
            "{}: {} of {} requests failed in round {} ({scenario:?}): {}",
            visit.subject.name(),
            sample.failed,
            sample.failed + sample.replies,
            visit.round + 1,
            sample.first_error.as_deref().unwrap_or_default()
        ));
    }

    pub fn write(&mut self, visit: &Visit<'_>, scenario: Scenario, sample: &Sample) {
        let mut put = |metric, value| {
            let row = (metric, scenario);
            self.figures.put(row, visit.subject, visit.round, value);
        };
        put(Metric::Rate, sample.rate);
        if sample.replies == 0 {
            return;
        }
        put(Metric::P50, micros(sample.p50));
        put(Metric::P99, micros(sample.p99));
        if visit.running.pid().is_some() {
            put(Metric::Cpu, micros(sample.cpu));
        }
    }

    /// The exposed tools, or `None` where this subject does not serve this pair of eras.
    async fn targets(
        &mut self,
        subject: Subject,
        running: &Running,
        fleet: &Fleet,
        cell: Cell,
    ) -> Option<Vec<Target>> {
        if self.refused.contains_key(&(subject, cell)) {
            return None;
        }
        match subject.targets(running, fleet, cell.client()).await {
            Ok(targets) => Some(targets),
            Err(error) => {
                let why = format!("{error:#}").replace('\n', " ");
                let why: String = why.chars().take(400).collect();
                if !subject.is_rival() {
                    self.figures.wrong += 1;
                }
                self.figures.note(format!(
                    "{} does not serve {}: {why}",
                    subject.name(),
                    cell.name()
                ));
                self.refused.insert((subject, cell), why);
                None
            }
        }
    }

    /// A subject before a fleet; none where a rival does not start before such a fleet.
    async fn start(&mut self, subject: Subject, fleet: &Fleet) -> Result<Option<Running>> {
        if self.unstarted.contains(&(subject, fleet.kind)) {
            return Ok(None);
        }
        let folder = self.place(subject);
        match subject.start(fleet, &folder).await {
            Ok(running) => Ok(Some(running)),
            Err(error) if subject.is_rival() => {
                let why = format!("{error:#}").replace('\n', " ");
                let why: String = why.chars().take(200).collect();
                let (name, kind) = (subject.name(), fleet.kind.word());
                self.figures.note(format!(
                    "{name} does not start before {kind} backends: {why}"
                ));
                self.unstarted.push((subject, fleet.kind));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A folder that nothing was written to before: what is left of one start must not be read by
    /// the next.
    fn place(&mut self, subject: Subject) -> PathBuf {
        self.starts += 1;
        let name = subject.name().replace(' ', "-");
        self.folder.join(format!("{}-{name}", self.starts))
    }
}

pub fn of_tool(targets: &[Target], tool: usize) -> Arc<[Target]> {
    let of = targets.iter().filter(|target| target.tool == tool);
    of.cloned().collect()
}

pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
