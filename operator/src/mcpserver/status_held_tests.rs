//! What a refused change and time do to a status.

use super::*;

/// API, truth table: a change that is refused takes nothing from what serves; nothing of it is
/// believed where a stranger may be the one that answers.
#[test]
fn a_refused_change_leaves_what_serves_as_it_is_and_is_stalled() {
    let server = server(WORKLOAD);
    let with = |ensured, ready, reports: &[DiscoveredBackend]| {
        let hindrance = Hindrance::of("Deployment", "mcp-git", &ensured);
        let facts = Facts {
            server: &server,
            workload: Some(workload(Availability::Available, ready)),
            reports,
            hindrance: hindrance.as_ref(),
        };
        status(&facts, None, now())
    };
    let refused = || Ensured::Refused {
        code: 403,
        message: "exceeded quota".to_owned(),
    };
    let good = [report("Ready", "", 0, 10)];
    let bad = [report("Unhealthy", "HttpStatus", 3, 10)];

    let observed = with(refused(), 1, &good);
    assert_eq!(
        row(&observed, &["Ready", "Stalled", "Reconciling"]),
        [
            "Ready",
            "True/AllObserversReady",
            "True/AdmissionDenied",
            "False/Reconciled"
        ]
    );
    assert_eq!(kstatus(&observed), "Failed");
    assert!(observed.message.unwrap().contains("exceeded quota"));
    for (status, expected) in [
        (with(refused(), 1, &[]), ["Ready", "True/AdmissionDenied"]),
        (
            with(refused(), 1, &bad),
            ["Unhealthy", "True/AdmissionDenied"],
        ),
        (
            with(refused(), 0, &bad),
            ["Unhealthy", "True/AdmissionDenied"],
        ),
        (
            with(Ensured::Leaving, 1, &good),
            ["Ready", "False/Reconciled"],
        ),
        (
            with(Ensured::Stranger, 1, &good),
            ["Unhealthy", "True/NameConflict"],
        ),
    ] {
        assert_eq!(row(&status, &["Stalled"]), expected);
    }
}

/// API: all conditions at the first visit, each with the generation, none twice, and the times
/// of those that stay.
#[test]
fn every_condition_is_written_at_the_first_visit_and_keeps_its_time_while_it_stays() {
    let first = of(REMOTE, None, &[report("Ready", "", 0, 10)]);
    let types: Vec<&str> = first.conditions.iter().map(|c| c.type_.as_str()).collect();
    let mut expected = MCP_SERVER_TYPES.to_vec();
    expected.sort_unstable();
    assert_eq!(types, expected);
    for condition in &first.conditions {
        assert_eq!(condition.observed_generation, Some(7));
    }

    let server = server(REMOTE);
    let reports = [report("Unhealthy", "HttpStatus", 3, 20)];
    let facts = Facts {
        server: &server,
        workload: None,
        reports: &reports,
        hindrance: None,
    };
    let later = Time(Timestamp::from_second(200).unwrap());
    let second = status(&facts, Some(&first), later.clone());
    let time = |type_: &str| {
        find(&second.conditions, type_)
            .unwrap()
            .last_transition_time
            .clone()
    };

    assert_eq!(time("Ready"), later);
    assert_eq!(time("Stalled"), now());
    let gone = status(
        &Facts {
            reports: &[],
            ..facts
        },
        Some(&second),
        later,
    );
    assert!(
        find(&gone.conditions, "Ready").is_none(),
        "Ready is absent when nobody observes"
    );
}
