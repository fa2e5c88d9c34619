//! What kept a run from going faster: the target, the lab, or nothing.

use super::cost;
use super::measurement::Measurement;
use super::result::{Run, Target};
use super::scenario::{Drive, Scenario, Wait};

/// Enters it.
pub(super) fn find(measurement: Measurement, scenario: &Scenario) -> Run {
    let Measurement { mut run, target_busiest, .. } = measurement;
    let is_kept = run.offered_rate.is_some_and(|rate| {
        run.published as f64 >= rate * scenario.seconds * KEPT && run.seconds <= scenario.seconds / KEPT + MOMENT
    });
    let others = run.cpu.others.filter(|others| *others > DISTURBED);
    let others = others.map(|share| format!("other programs took {} of the machine", percent(share)));
    if scenario.drive == Drive::Open && is_kept {
        run.bottleneck = others;
        return run;
    }
    let (bottleneck, is_lab_bound) = match scenario.target {
        Target::Network => network(&run, target_busiest),
        Target::Library => library(&run, scenario, target_busiest),
    };
    run.bottleneck = Some(match others {
        Some(others) => format!("{others}; else {bottleneck}"),
        None => bottleneck,
    });
    run.is_lab_bound = is_lab_bound;
    run
}

fn network(run: &Run, target_busiest: f64) -> (String, bool) {
    let lab_busiest = run.cpu.lab_busiest.unwrap_or_default();
    let Some(target_seconds) = run.cpu.target_seconds else {
        let is_lab_bound = lab_busiest >= BUSY;
        let what = if is_lab_bound { "the lab" } else { "the server or the way to it" };
        return (format!("{what}: the lab's busiest thread ran {} of the time", percent(lab_busiest)), is_lab_bound);
    };
    let lab_seconds = run.cpu.lab_seconds.unwrap_or_default();
    let cores = run.cpu.per_core.iter().sum::<f64>() / run.cpu.per_core.len().max(1) as f64;
    if target_busiest >= BUSY {
        (
            format!(
                "the server: its busiest thread ran {} of the time, the lab's {}",
                percent(target_busiest),
                percent(lab_busiest)
            ),
            false,
        )
    } else if lab_busiest >= BUSY {
        (
            format!(
                "the lab: its busiest thread ran {} of the time, the server's {}",
                percent(lab_busiest),
                percent(target_busiest)
            ),
            true,
        )
    } else if cores >= BUSY {
        let is_lab_bound = lab_seconds > target_seconds;
        (
            format!("all cores are busy: the server took {target_seconds:.2} s of them, the lab {lab_seconds:.2} s"),
            is_lab_bound,
        )
    } else {
        (
            format!(
                "waiting for each other: the server's busiest thread ran {} of the time, the lab's {}",
                percent(target_busiest),
                percent(lab_busiest)
            ),
            false,
        )
    }
}

fn library(run: &Run, scenario: &Scenario, target_busiest: f64) -> (String, bool) {
    let load = &scenario.load;
    let nanos = run.seconds * 1e9;
    let making = cost::publish_ns(load) * run.published as f64 / (nanos * load.concurrent as f64);
    let is_served = load.wait == Wait::Handler;
    let readers = if is_served {
        let shards = if load.shards > 0 { load.shards } else { super::procfs::cores() };
        (shards * load.brokers).min(super::procfs::cores())
    } else {
        run.cpu.lab_threads.saturating_sub(load.concurrent).clamp(1, super::procfs::cores())
    };
    let checking = cost::receive_ns(load) * run.delivered as f64 / (nanos * readers as f64);
    if making >= HALF || checking >= HALF {
        let (what, share) =
            if making > checking { ("making messages", making) } else { ("checking messages", checking) };
        return (format!("the lab: {what} took {} of the time", percent(share.min(1.0))), true);
    }
    let own = format!("making messages took {}, checking them {}", percent(making), percent(checking));
    if is_served && target_busiest >= BUSY {
        (format!("the shards: the busiest ran {} of the time; {own}", percent(target_busiest)), false)
    } else {
        (format!("publishing and waking; {own}"), false)
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A thread that runs so much of the time has no time left.
const BUSY: f64 = 0.9;
/// From here on what others take is more than noise.
pub(super) const DISTURBED: f64 = 0.1;
/// The lab is the limit where its own work is most of it.
const HALF: f64 = 0.5;
/// A schedule is kept when so much of it is done in time.
const KEPT: f64 = 0.97;
/// What the end of a run may take, in seconds.
const MOMENT: f64 = 0.1;
