//! What was measured, by row, subject and round.
//!
//! Owns medians and ratios. A ratio is taken within a round, where both sides saw the same machine
//! within a minute; the median of the rounds is what is shown.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::subject::Subject;
use crate::wire::Era;

/// A pair of eras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    ModernModern,
    LegacyStateful,
    LegacyModern,
}

impl Cell {
    pub fn client(self) -> Era {
        match self {
            Self::ModernModern => Era::Modern,
            Self::LegacyStateful | Self::LegacyModern => Era::Legacy,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::ModernModern => "modern -> modern",
            Self::LegacyStateful => "legacy -> legacy, stateful",
            Self::LegacyModern => "legacy -> modern",
        }
    }
}

/// What the subject went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scenario {
    Calls(Cell, usize),
    BigCalls(Cell, usize),
    Lists(Cell, usize),
    ListsHung(Cell),
    Handshakes(usize),
    Killed(Cell),
    Idle,
    Sessions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Microseconds of the subject's CPU for one reply.
    Cpu,
    /// Microseconds.
    P50,
    /// Microseconds.
    P99,
    /// Replies per second.
    Rate,
    /// MiB.
    Resident,
    /// Milliseconds from the restart of a backend to the first good call.
    Recovery,
    /// Failed calls to the other backends meanwhile.
    OthersFailed,
}

pub type Row = (Metric, Scenario);

#[derive(Debug, Default)]
pub struct Figures {
    rows: BTreeMap<Row, BTreeMap<Subject, BTreeMap<usize, f64>>>,
    pub notes: Vec<String>,
    pub replies: u64,
    pub wrong: u64,
}

impl Figures {
    pub fn put(&mut self, row: Row, subject: Subject, round: usize, value: f64) {
        let of_row = self.rows.entry(row).or_default();
        of_row.entry(subject).or_default().insert(round, value);
    }

    pub fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// A rival that breaks off is told of, and the others go on without it.
    ///
    /// # Errors
    /// What any other subject broke off with.
    pub fn bear(&mut self, subject: Subject, stage: Result<()>) -> Result<()> {
        match stage {
            Err(error) if subject.is_rival() => {
                let why = format!("{error:#}").replace('\n', " ");
                let why: String = why.chars().take(200).collect();
                self.note(format!("{} broke off: {why}", subject.name()));
                Ok(())
            }
            stage => stage,
        }
    }

    pub fn rows(&self, metric: Metric) -> impl Iterator<Item = Row> + '_ {
        let rows = self.rows.keys().copied();
        rows.filter(move |(other, _)| *other == metric)
    }

    pub fn median(&self, row: Row, subject: Subject) -> Option<f64> {
        let values = self.of(row, subject)?.values().copied();
        median(values.collect())
    }

    /// The median of the rounds' quotients.
    pub fn ratio(&self, row: Row, subject: Subject, base: (Row, Subject)) -> Option<f64> {
        let below = self.of(base.0, base.1)?;
        let values = self.of(row, subject)?.iter();
        let quotients = values.filter_map(|(round, value)| {
            let base = below.get(round).filter(|base| **base > 0.0)?;
            Some(value / base)
        });
        median(quotients.collect())
    }

    /// What a subject adds to the direct way, as a multiple of what the reference adds.
    pub fn added(&self, row: Row, subject: Subject) -> Option<f64> {
        let direct = self.of(row, Subject::Direct)?;
        let reference = self.of(row, Subject::Reference)?;
        let quotients = self.of(row, subject)?.iter().filter_map(|(round, value)| {
            let direct = direct.get(round)?;
            let below = reference.get(round)? - direct;
            (below > 0.0).then(|| (value - direct) / below)
        });
        median(quotients.collect())
    }

    fn of(&self, row: Row, subject: Subject) -> Option<&BTreeMap<usize, f64>> {
        self.rows.get(&row)?.get(&subject)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row = (Metric::P50, Scenario::Calls(Cell::ModernModern, 1));

    fn figures() -> Figures {
        let mut figures = Figures::default();
        for (round, (direct, reference, ours)) in
            [(10.0, 20.0, 22.0), (20.0, 40.0, 44.0), (10.0, 20.0, 60.0)]
                .into_iter()
                .enumerate()
        {
            figures.put(ROW, Subject::Direct, round, direct);
            figures.put(ROW, Subject::Reference, round, reference);
            figures.put(ROW, Subject::Gateway, round, ours);
        }
        figures
    }

    /// Build 7: one disturbed round moves neither the ratio nor what is added.
    #[test]
    fn ratios_are_taken_within_a_round_and_the_middle_one_counts() {
        let figures = figures();

        let ratio = figures.ratio(ROW, Subject::Gateway, (ROW, Subject::Reference));
        assert!((ratio.unwrap() - 1.1).abs() < 1e-9, "{ratio:?}");
        let added = figures.added(ROW, Subject::Gateway);
        assert!((added.unwrap() - 1.2).abs() < 1e-9, "{added:?}");
        assert_eq!(figures.median(ROW, Subject::Reference), Some(20.0));
    }

    /// Build 7: what was not measured has no figure.
    #[test]
    fn an_absent_subject_has_no_figure() {
        let figures = figures();

        assert_eq!(figures.median(ROW, Subject::ToolHive), None);
        assert_eq!(
            figures.ratio(ROW, Subject::ToolHive, (ROW, Subject::Reference)),
            None
        );
    }
}
