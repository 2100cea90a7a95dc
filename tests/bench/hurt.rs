//! What happens to the others while one backend hangs, and when one dies and comes back.
//!
//! Owns the harm and its end: whatever a subject does, the victim runs again afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::{sleep, timeout};

use crate::check;
use crate::client::Client;
use crate::figures::{Metric, Scenario};
use crate::fleet::Fleet;
use crate::load::{Crowd, Sample, Target, Turn, Work};
use crate::plan::{Run, Visit, of_tool};
use crate::wire::{self, SMALL_TOOL};

/// How long the victim is away.
const AWAY: Duration = Duration::from_secs(1);

/// Between two looks at the victim.
const PAUSE: Duration = Duration::from_millis(20);

/// A call to the victim that takes longer has failed.
const LOOK: Duration = Duration::from_secs(2);

/// Clients that go on calling the other backends.
const OTHERS: usize = 8;

/// How long the others' loop runs before it looks whether it is over.
const SLICE: Duration = Duration::from_millis(100);

/// Lists while one backend accepts connections and answers nothing.
pub async fn hung(run: &mut Run<'_>, visit: &Visit<'_>, fleet: &Fleet) -> Result<()> {
    let tools = visit.targets.len();
    let mut crowd = Crowd::new(&visit.running.place, visit.cell.client());
    crowd
        .work(1, run.size.warm, &Work::Lists { tools }, None)
        .await?;
    fleet.freeze()?;
    let lists = Work::Lists { tools };
    let listed = timeout(
        run.size.sample + LOOK,
        crowd.work(1, run.size.sample, &lists, visit.running.pid()),
    )
    .await;
    fleet.thaw()?;
    let scenario = Scenario::ListsHung(visit.cell);
    match listed {
        Ok(sample) => {
            let sample = sample?;
            run.figures.replies += sample.replies;
            if !visit.subject.is_rival() && visit.subject != crate::subject::Subject::Reference {
                run.figures.wrong += sample.failed;
            }
            run.write(visit, scenario, &sample);
        }
        Err(_elapsed) => run.write(visit, scenario, &Sample::default()),
    }
    crowd.leave().await;
    Ok(())
}

/// The victim is killed and started again on the same port; the others are called all the while.
pub async fn killed(run: &mut Run<'_>, visit: &Visit<'_>, fleet: &mut Fleet) -> Result<()> {
    let small = of_tool(visit.targets, SMALL_TOOL);
    let victim = wire::backend_name(fleet.victim());
    let others: Arc<[Target]> = small
        .iter()
        .filter(|target| target.backend != victim)
        .cloned()
        .collect();
    let Some(target) = small.iter().find(|target| target.backend == victim) else {
        return Ok(());
    };
    let over = AtomicBool::new(false);
    let mut crowd = Crowd::new(&visit.running.place, visit.cell.client());
    let work = Work::Calls {
        targets: others,
        turn: Turn::Never,
    };
    crowd.work(OTHERS, run.size.warm, &work, None).await?;
    let beside = async {
        let mut failed = 0;
        let mut error = None;
        while !over.load(Ordering::Relaxed) {
            let sample = crowd.work(OTHERS, SLICE, &work, None).await?;
            failed += sample.failed;
            error = error.or(sample.first_error);
        }
        anyhow::Ok((failed, error))
    };
    let patience = run.size.patience;
    let recovery = async {
        let took = recover(visit, target, fleet, patience).await;
        over.store(true, Ordering::Relaxed);
        took
    };
    let (beside, recovery) = tokio::join!(beside, recovery);
    let ((failed, error), recovery) = (beside?, recovery?);
    let scenario = Scenario::Killed(visit.cell);
    let mut put = |metric, value| {
        let row = (metric, scenario);
        run.figures.put(row, visit.subject, visit.round, value);
    };
    put(Metric::OthersFailed, failed as f64);
    put(
        Metric::Recovery,
        recovery.map_or(f64::INFINITY, |took| took.as_secs_f64() * 1e3),
    );
    if let Some(error) = error {
        let subject = visit.subject.name();
        run.figures
            .note(format!("{subject}: a call beside a dead backend: {error}"));
    }
    crowd.leave().await;
    Ok(())
}

/// Time from the restart until a call to the victim succeeds; `None` if it never does.
async fn recover(
    visit: &Visit<'_>,
    target: &Target,
    fleet: &mut Fleet,
    patience: Duration,
) -> Result<Option<Duration>> {
    let mut client = Client::open(&visit.running.place, visit.cell.client()).await?;
    call(&mut client, target).await?;
    fleet.kill()?;
    let killed = Instant::now();
    while killed.elapsed() < AWAY {
        // Nobody can answer; that the subject is asked is what matters.
        let _ = call(&mut client, target).await;
        sleep(PAUSE).await;
    }
    fleet.restart().await?;
    let back = Instant::now();
    let mut took = None;
    while took.is_none() && back.elapsed() < patience {
        match call(&mut client, target).await {
            Ok(()) => took = Some(back.elapsed()),
            Err(_) => sleep(PAUSE).await,
        }
    }
    let _ = client.end().await;
    Ok(took)
}

async fn call(client: &mut Client, target: &Target) -> Result<()> {
    let nonce = "victim-";
    let (id, body) = timeout(LOOK, client.call(&target.exposed, nonce)).await??;
    let expected = wire::expected(&target.backend, nonce);
    check::call(&body, id, &expected, 0)
}
