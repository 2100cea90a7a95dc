//! The tables and the checklist, in Markdown.
//!
//! Owns how figures are shown: a multiple of the reference of the same run, the absolute figure
//! behind it. What was not measured is a dash, never a guess.

use std::fmt::Write as _;

use crate::figures::{Cell, Figures, Metric, Row, Scenario};
use crate::plan::Size;
use crate::subject::Subject;

/// What the project promises, and how it is judged.
struct Target {
    text: &'static str,
    limit: f64,
    unit: &'static str,
    found: Option<f64>,
}

pub fn tables(figures: &Figures, subjects: &[Subject]) -> String {
    let parts = [
        (Metric::Cpu, "CPU of the gateway for one reply", "µs"),
        (
            Metric::P50,
            "Median time of one reply, seen by the client",
            "µs",
        ),
        (Metric::P99, "99th percentile of the same", "µs"),
        (Metric::Rate, "Replies per second", "/s"),
        (Metric::Resident, "Resident memory", "MiB"),
        (
            Metric::Recovery,
            "A killed backend: from its restart to the first good call",
            "ms",
        ),
        (
            Metric::OthersFailed,
            "Failed calls to the other backends meanwhile",
            "",
        ),
    ];
    let mut out = String::new();
    for (metric, title, unit) in parts {
        let _ = writeln!(out, "\n### {title}\n");
        table(&mut out, figures, subjects, metric, unit);
    }
    out
}

fn table(out: &mut String, figures: &Figures, subjects: &[Subject], metric: Metric, unit: &str) {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name()).collect();
    let _ = writeln!(out, "| | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
    for row in figures.rows(metric) {
        let cells: Vec<String> = subjects
            .iter()
            .map(|subject| shown(figures, row, *subject, unit))
            .collect();
        let _ = writeln!(out, "| {} | {} |", label(row.1), cells.join(" | "));
    }
}

fn shown(figures: &Figures, row: Row, subject: Subject, unit: &str) -> String {
    let Some(value) = figures.median(row, subject) else {
        return "-".to_owned();
    };
    if row.0 == Metric::OthersFailed {
        return format!("{value:.0}");
    }
    if value.is_infinite() {
        return "never".to_owned();
    }
    let digits = usize::from(value < 100.0);
    let absolute = format!("{value:.digits$} {unit}");
    if row.0 == Metric::Recovery {
        return absolute;
    }
    match figures.ratio(row, subject, (row, Subject::Reference)) {
        Some(ratio) => format!("**{ratio:.2}** ({absolute})"),
        None => absolute,
    }
}

fn label(scenario: Scenario) -> String {
    match scenario {
        Scenario::Calls(cell, 1) => format!("call, {}, 1 connection", cell.name()),
        Scenario::Calls(cell, n) => format!("call, {}, {n} connections", cell.name()),
        Scenario::BigCalls(cell, n) => {
            format!("call with 10 KiB, {}, {n} connections", cell.name())
        }
        Scenario::Lists(cell, n) => format!("tools/list, {}, {n} backends", cell.name()),
        Scenario::ListsHung(cell) => {
            format!("tools/list, {}, one backend hangs", cell.name())
        }
        Scenario::Handshakes(n) => format!("initialize, {n} backends"),
        Scenario::Killed(cell) => cell.name().to_owned(),
        Scenario::Idle => "idle".to_owned(),
        Scenario::Sessions => "with sessions open".to_owned(),
    }
}

/// The targets of the project, each with what was found.
pub fn checklist(figures: &Figures, size: &Size) -> String {
    let mut out = String::from("\n### Targets\n\n");
    for target in targets(figures, size) {
        let unit = target.unit;
        let (mark, found) = match target.found {
            Some(found) if found <= target.limit => ("x", format!("met, {found:.2}{unit}")),
            Some(found) => (" ", format!("not met, {found:.2}{unit}")),
            None => (" ", "not measured".to_owned()),
        };
        let (text, limit) = (target.text, target.limit);
        let _ = writeln!(out, "- [{mark}] {text}, at most {limit}{unit}: {found}");
    }
    out
}

/// Text, limit, unit, and what was found.
type Judged = (&'static str, f64, &'static str, Option<f64>);

fn targets(figures: &Figures, size: &Size) -> Vec<Target> {
    let calls = of_calls(figures, size);
    let others = of_lists(figures, size).into_iter().chain(of_harm(figures));
    let targets = calls.into_iter().chain(others);
    targets
        .map(|(text, limit, unit, found)| Target {
            text,
            limit,
            unit,
            found,
        })
        .collect()
}

fn ours(figures: &Figures, row: Row) -> Option<f64> {
    figures.ratio(row, Subject::Gateway, (row, Subject::Reference))
}

fn of_calls(figures: &Figures, size: &Size) -> [Judged; 4] {
    let cpu = |cell| ours(figures, (Metric::Cpu, Scenario::Calls(cell, size.usual())));
    let alone = (Metric::P50, Scenario::Calls(Cell::ModernModern, 1));
    let added = figures.added(alone, Subject::Gateway);
    let text = "median latency added to the direct way, one connection, modern to modern";
    [
        (
            "CPU per call, modern to modern",
            1.25,
            " x",
            cpu(Cell::ModernModern),
        ),
        (
            "the same, as it is aimed at",
            1.1,
            " x",
            cpu(Cell::ModernModern),
        ),
        (
            "CPU per call, legacy to a stateful backend",
            1.4,
            " x",
            cpu(Cell::LegacyStateful),
        ),
        (text, 1.2, " x", added),
    ]
}

fn of_lists(figures: &Figures, size: &Size) -> [Judged; 3] {
    let lists = Scenario::Lists(Cell::ModernModern, size.backends);
    let cpu = ours(figures, (Metric::Cpu, lists));
    let time = (Metric::P50, lists);
    let hung = (Metric::P50, Scenario::ListsHung(Cell::ModernModern));
    let beside_itself = figures.ratio(hung, Subject::Gateway, (time, Subject::Gateway));
    let text = "the same while one backend hangs, beside its own time without";
    [
        ("CPU per tools/list of all backends", 0.15, " x", cpu),
        (
            "median time of tools/list of all backends",
            0.25,
            " x",
            ours(figures, time),
        ),
        (text, 1.2, " x", beside_itself),
    ]
}

fn of_harm(figures: &Figures) -> [Judged; 3] {
    let median = |row| figures.median(row, Subject::Gateway);
    let failed = |cell| median((Metric::OthersFailed, Scenario::Killed(cell)));
    let sessions = median((Metric::Resident, Scenario::Sessions));
    let modern = "failed calls beside a killed backend, modern";
    let legacy = "failed calls beside a killed backend, legacy";
    [
        ("memory with idle sessions", 30.0, " MiB", sessions),
        (modern, 0.0, "", failed(Cell::ModernModern)),
        (legacy, 0.0, "", failed(Cell::LegacyStateful)),
    ]
}
