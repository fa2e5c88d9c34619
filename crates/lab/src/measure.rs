//! From what was asked for to a report: runs, sweeps, and plans of many sweeps.

use std::time::SystemTime;

use serde::Deserialize;

use super::knob::{self, Knob};
use super::network::Server;
use super::result::{FORMAT, Knob as Named, Point, Report, Run, Scenario as Asked, Series, Setting, Target};
use super::scenario::{self, Scenario, Wrong};
use super::watch::Watch;
use super::{Fault, bottleneck, cost, library, network, procfs};

/// One scenario, once.
///
/// # Errors
/// [`Fault`] when it cannot be run.
pub fn once(scenario: &Scenario, server: &Server, watch: &mut dyn Watch) -> Result<Run, Fault> {
    let measurement = match scenario.target {
        Target::Library => library::run(scenario, watch)?,
        Target::Network => network::run(scenario, server, watch)?,
    };
    let run = bottleneck::find(measurement, scenario);
    watch.end(&run);
    Ok(run)
}

/// One curve that is to be measured.
#[derive(Clone, Debug)]
pub struct Sweep {
    name: String,
    text: String,
    otherwise: Vec<(String, toml::Value)>,
    knob: &'static Knob,
    values: Vec<String>,
    second: Option<(&'static Knob, String)>,
}

/// Many sweeps in a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    name: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    seed: u64,
    seconds: f64,
    #[serde(default)]
    warmup: f64,
    repeats: usize,
    sweep: Vec<Planned>,
}

/// One of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    knob: String,
    values: String,
    second: Option<String>,
    second_values: Option<String>,
    target: String,
    #[serde(default)]
    drive: Option<String>,
    /// Added to the name, where two sweeps would have the same.
    #[serde(default)]
    suffix: String,
    #[serde(default)]
    load: toml::Table,
}

/// What a scenario is run with.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Asking {
    /// What was typed.
    pub command: String,
    /// Where the server comes from.
    pub server: Server,
}

/// The plan of `make lab`.
pub const EVERY_KNOB: &str = include_str!("../scenarios/plans/every-knob.toml");

/// Runs a scenario as often as it says.
///
/// # Errors
/// [`Fault`] when it cannot be run.
pub fn run(text: &str, scenario: &Scenario, asking: &Asking, watch: &mut dyn Watch) -> Result<Report, Fault> {
    let mut report = begin(text, &scenario.name, &scenario.about, scenario.seed, asking);
    report.own_cost = Some(cost::measure(scenario.target == Target::Network)?);
    let mut point = Point { value: 0.0, label: scenario.name.clone(), repeats: Vec::new() };
    for nth in 0..scenario.repeats {
        watch.begin(&scenario.name, nth, scenario.repeats);
        point.repeats.push(once(scenario, &asking.server, watch)?);
    }
    report.series.push(Series {
        name: scenario.name.clone(),
        target: scenario.target,
        points: vec![point],
        kept: kept(scenario, &[]),
        drive: scenario.drive.to_string(),
        ..Series::default()
    });
    report.notes = notes(&report);
    Ok(report)
}

/// The sweeps of one scenario over one knob or two: `subscribers=1..1000`.
///
/// # Errors
/// [`Wrong`] when there is no such knob, or no such value.
pub fn sweeps(text: &str, otherwise: &[(String, toml::Value)], knobs: &[String]) -> Result<Vec<Sweep>, Wrong> {
    let mut chosen = Vec::new();
    for asked in knobs {
        let (name, values) = asked.split_once('=').ok_or_else(|| {
            Wrong(format!("--knob {asked:?} should name a knob and its values: subscribers=1..1000, read=ref,clone"))
        })?;
        let knob = knob::find(name).map_err(Wrong)?;
        chosen.push((knob, knob.values(values).map_err(Wrong)?));
    }
    let mut chosen = chosen.into_iter();
    let (Some(first), second, None) = (chosen.next(), chosen.next(), chosen.next()) else {
        return Err(Wrong("one knob or two can be swept at a time".to_owned()));
    };
    let scenario = scenario::parse(text, otherwise)?;
    let name = format!("{}-{}", scenario.target, first.0.name);
    family(&name, text, otherwise, first, second)
}

/// The sweeps of a plan, with the name and the line about it.
///
/// # Errors
/// [`Wrong`] when it is none.
pub fn plan(text: &str) -> Result<(String, String, Vec<Sweep>), Wrong> {
    let plan: Plan = toml::from_str(text).map_err(|error| Wrong(error.message().replace('\n', " ")))?;
    let mut sweeps = Vec::new();
    for planned in &plan.sweep {
        let mut table = toml::Table::new();
        table.insert("name".to_owned(), plan.name.clone().into());
        table.insert("target".to_owned(), planned.target.clone().into());
        table.insert("seed".to_owned(), (plan.seed as i64).into());
        table.insert("seconds".to_owned(), plan.seconds.into());
        table.insert("warmup".to_owned(), plan.warmup.into());
        table.insert("repeats".to_owned(), (plan.repeats as i64).into());
        table.insert("drive".to_owned(), planned.drive.clone().unwrap_or_else(|| "closed".to_owned()).into());
        table.insert("load".to_owned(), planned.load.clone().into());
        let knob = knob::find(&planned.knob).map_err(Wrong)?;
        let first = (knob, knob.values(&planned.values).map_err(Wrong)?);
        let second = match (&planned.second, &planned.second_values) {
            (Some(name), Some(values)) => {
                let knob = knob::find(name).map_err(Wrong)?;
                Some((knob, knob.values(values).map_err(Wrong)?))
            }
            (None, None) => None,
            _ => return Err(Wrong("second and second_values go together".to_owned())),
        };
        let name = format!("{}-{}{}", planned.target, knob.name, planned.suffix);
        sweeps.extend(family(&name, &table.to_string(), &[], first, second)?);
    }
    Ok((plan.name, plan.about, sweeps))
}

/// A curve for each value of the second knob.
fn family(
    name: &str,
    text: &str,
    otherwise: &[(String, toml::Value)],
    (knob, values): (&'static Knob, Vec<String>),
    second: Option<(&'static Knob, Vec<String>)>,
) -> Result<Vec<Sweep>, Wrong> {
    let of = |name: String, otherwise: Vec<(String, toml::Value)>, second| -> Result<Sweep, Wrong> {
        let sweep = Sweep { name, text: text.to_owned(), otherwise, knob, values: values.clone(), second };
        // What cannot be is said before anything is run.
        sweep.scenarios().map(|_| sweep)
    };
    let Some((second, seconds)) = second else { return Ok(vec![of(name.to_owned(), otherwise.to_vec(), None)?]) };
    let mut sweeps = Vec::new();
    for value in seconds {
        let mut otherwise = otherwise.to_vec();
        otherwise.push((second.name.to_owned(), second.value(&value).map_err(Wrong)?));
        sweeps.push(of(format!("{name}-{}-{value}", second.name), otherwise, Some((second, value)))?);
    }
    Ok(sweeps)
}

impl Sweep {
    /// The scenario of each value.
    fn scenarios(&self) -> Result<Vec<(String, Scenario)>, Wrong> {
        let mut scenarios = Vec::new();
        for value in &self.values {
            let mut otherwise = self.otherwise.clone();
            otherwise.push((self.knob.name.to_owned(), self.knob.value(value).map_err(Wrong)?));
            let scenario = scenario::parse(&self.text, &otherwise)
                .map_err(|wrong| Wrong(format!("{} {value}: {wrong}", self.knob.name)))?;
            if !self.knob.is_on(scenario.target) {
                return Err(Wrong(format!("{} means nothing on the {}", self.knob.name, scenario.target)));
            }
            scenarios.push((value.clone(), scenario));
        }
        Ok(scenarios)
    }

    /// What it turns: where, which knob, and its values.
    #[must_use]
    pub fn turns(&self) -> (Target, &'static str, &[String]) {
        let target = self.scenarios().ok().and_then(|all| Some(all.first()?.1.target));
        (target.unwrap_or_default(), self.knob.name, &self.values)
    }

    fn measure(&self, nth: &mut usize, all: usize, server: &Server, watch: &mut dyn Watch) -> Result<Series, Fault> {
        let scenarios = self.scenarios().map_err(Fault::new)?;
        let first = scenarios.first().map(|(_, scenario)| scenario);
        let mut series = Series {
            name: self.name.clone(),
            target: first.map(|scenario| scenario.target).unwrap_or_default(),
            knob: Named { name: self.knob.name.to_owned(), unit: self.knob.unit.to_owned() },
            second_knob: self
                .second
                .as_ref()
                .map(|(knob, value)| Setting { name: knob.name.to_owned(), value: value.clone() }),
            points: Vec::new(),
            kept: first.map(|scenario| kept(scenario, &[self.knob.name])).unwrap_or_default(),
            drive: first.map(|scenario| scenario.drive.to_string()).unwrap_or_default(),
        };
        for (place, (label, scenario)) in scenarios.iter().enumerate() {
            let value = label.replace('_', "").parse().unwrap_or(place as f64);
            let mut point = Point { value, label: label.clone(), repeats: Vec::new() };
            for _ in 0..scenario.repeats {
                watch.begin(&format!("{} {label}", self.name), *nth, all);
                *nth += 1;
                point.repeats.push(
                    once(scenario, server, watch)
                        .map_err(|fault| Fault::new(format!("{} at {label}: {fault}", self.name)))?,
                );
            }
            series.points.push(point);
        }
        Ok(series)
    }
}

/// Measures curves, one after the other.
///
/// # Errors
/// [`Fault`] when one cannot be.
pub fn sweep(
    named: (&str, &str),
    text: &str,
    sweeps: &[Sweep],
    asking: &Asking,
    watch: &mut dyn Watch,
) -> Result<Report, Fault> {
    let all =
        sweeps.iter().map(|sweep| sweep.scenarios().map(|all| all.iter().map(|(_, it)| it.repeats).sum::<usize>()));
    let all = all.sum::<Result<usize, Wrong>>().map_err(Fault::new)?;
    let seed = sweeps.first().and_then(|sweep| Some(sweep.scenarios().ok()?.first()?.1.seed)).unwrap_or_default();
    let mut report = begin(text, named.0, named.1, seed, asking);
    let has_network = sweeps.iter().any(|sweep| {
        sweep.scenarios().is_ok_and(|all| all.iter().any(|(_, scenario)| scenario.target == Target::Network))
    });
    report.own_cost = Some(cost::measure(has_network)?);
    let mut nth = 0;
    for sweep in sweeps {
        report.series.push(sweep.measure(&mut nth, all, &asking.server, watch)?);
    }
    report.notes = notes(&report);
    Ok(report)
}

fn begin(text: &str, name: &str, about: &str, seed: u64, asking: &Asking) -> Report {
    Report {
        format: FORMAT,
        roomcast: env!("CARGO_PKG_VERSION").to_owned(),
        machine: procfs::machine(),
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: asking.command.clone(),
        scenario: Asked { name: name.to_owned(), about: about.to_owned(), toml: text.to_owned(), seed },
        ..Report::default()
    }
}

/// Knobs that do not stand where they stand by themselves.
fn kept(scenario: &Scenario, turned: &[&str]) -> Vec<Setting> {
    let load = &scenario.load;
    let usual = scenario::Load::default();
    let mut kept = Vec::new();
    let mut keep = |name: &str, value: String, always: bool| {
        if always && !turned.contains(&name) {
            kept.push(Setting { name: name.to_owned(), value });
        }
    };
    let word = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    let is_library = scenario.target == Target::Library;
    keep("brokers", load.brokers.to_string(), load.brokers != usual.brokers);
    keep("rooms", load.rooms.to_string(), true);
    keep("subscribers", load.subscribers.to_string(), true);
    keep("publishers", load.publishers.to_string(), load.publishers != usual.publishers);
    keep("concurrent", load.concurrent.to_string(), load.concurrent != usual.concurrent);
    keep("messages", load.in_a_row(scenario.drive).to_string(), true);
    keep("size", load.size.to_string(), true);
    keep("rate", load.rate.to_string(), scenario.drive == scenario::Drive::Open);
    keep("churners", load.churners.to_string(), load.churners > 0);
    keep("churn_rate", load.churn_rate.to_string(), load.churn_rate > 0.0);
    keep("capacity", load.capacity.to_string(), load.capacity != usual.capacity);
    keep("shards", load.shards.to_string(), load.shards != usual.shards);
    keep("read", word(&load.read), is_library);
    keep("wait", word(&load.wait), is_library);
    keep("policy", word(&load.policy), load.policy != usual.policy);
    keep("slow", load.slow.to_string(), load.slow > 0.0);
    keep("hot", load.hot.to_string(), load.hot > 0.0);
    keep("encoding", word(&load.encoding), !is_library);
    keep("storage", word(&load.storage), load.storage != usual.storage);
    kept
}

/// What a reader should know.
fn notes(report: &Report) -> Vec<String> {
    let mut notes = vec![
        "System calls are not counted: without tracing, which would slow them, the kernel does not tell their number."
            .to_owned(),
    ];
    let runs = || report.series.iter().flat_map(|series| &series.points).flat_map(|point| &point.repeats);
    let all = runs().count();
    let bound = runs().filter(|run| run.is_lab_bound).count();
    if bound > 0 {
        notes.push(format!("In {bound} of {all} measurements the lab itself was the limit; they say so."));
    }
    let disturbed = runs().filter(|run| run.cpu.others.is_some_and(|others| others > bottleneck::DISTURBED)).count();
    if disturbed > 0 {
        notes.push(format!(
            "In {disturbed} of {all} measurements other programs took more than {:.0} % of the machine; measure again when it \
             is quiet.",
            bottleneck::DISTURBED * 100.0
        ));
    }
    let wrong = runs().filter(|run| !run.checks.is_clean()).count();
    if wrong > 0 {
        notes.push(format!("In {wrong} of {all} measurements messages were lost, came twice or out of order."));
    }
    if report.machine.cores < 4 {
        notes.push(format!(
            "Lab and target share {} cores: what one takes the other lacks. Compare processor time a delivery rather than \
             deliveries a second.",
            report.machine.cores
        ));
    }
    notes
}
