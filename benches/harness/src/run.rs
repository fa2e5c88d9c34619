//! Measures in rounds, every measurement in a process of its own and for a bounded time.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Suite;
use crate::measure::{Case, Effort, Figure};
use crate::origin::Origin;

/// What is to be measured, and how often.
pub struct Plan {
    /// Names of workloads; none means all.
    pub workloads: Vec<String>,
    /// A part of a contender's name.
    pub rival: String,
    /// A part of a row's name.
    pub case: String,
    /// How often each is measured.
    pub rounds: usize,
    /// How thoroughly.
    pub effort: Effort,
}

impl Default for Plan {
    fn default() -> Self {
        let nothing = String::new();
        Self {
            workloads: Vec::new(),
            rival: nothing.clone(),
            case: nothing,
            rounds: 1,
            effort: Effort { quick: false },
        }
    }
}

impl Plan {
    /// Whether the case is to be measured.
    pub fn wants(&self, case: &Case) -> bool {
        let is_named = |workload: &String| workload.eq_ignore_ascii_case(case.workload);
        (self.workloads.is_empty() || self.workloads.iter().any(is_named))
            && case.contender.contains(&self.rival)
            && case.name.contains(&self.case)
            && !(case.is_detail && self.effort.quick && self.case.is_empty())
    }
}

/// What came of one case in all rounds.
#[derive(Clone, Default)]
pub struct Outcome {
    /// By the figure's name, in the order they were measured: unit and values.
    pub figures: Vec<(String, String, Vec<f64>)>,
    /// Why a round yielded nothing.
    pub failure: Option<String>,
}

/// By the key of the case.
pub type Outcomes = BTreeMap<String, Outcome>;

/// What was measured, and how long that took.
pub struct Results {
    /// All outcomes.
    pub outcomes: Outcomes,
    /// In all.
    pub took: Duration,
    /// Of what.
    pub origin: Origin,
}

/// Measures everybody once, then everybody again, so that what disturbs the machine for a while disturbs all alike.
pub fn rounds(suite: &Suite, plan: &Plan) -> Result<Results, String> {
    let wanted: Vec<&Case> = suite.cases.all.iter().filter(|case| plan.wants(case)).collect();
    if wanted.is_empty() {
        return Err(format!("nothing fits; see: {} list", suite.program));
    }
    let (begin, origin) = (Instant::now(), Origin::of(suite.measures));
    let mut outcomes = Outcomes::new();
    for round in 0..plan.rounds {
        for case in wanted.iter().filter(|case| round == 0 || !case.is_exact) {
            let outcome = outcomes.entry(case.key()).or_default();
            match in_a_process(case, plan.effort, suite.limit) {
                Ok(figures) => figures.into_iter().for_each(|figure| outcome.add(figure)),
                Err(failure) => {
                    eprintln!("{}: {failure}", case.key());
                    outcome.failure = Some(failure);
                }
            }
        }
        eprintln!("round {} of {} done after {:.0?}", round + 1, plan.rounds, begin.elapsed());
    }
    Ok(Results { outcomes, took: begin.elapsed(), origin })
}

impl Outcome {
    fn add(&mut self, (name, unit, value): (String, String, f64)) {
        match self.figures.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => self.figures.push((name, unit, vec![value])),
        }
    }
}

/// How a measuring process tells a figure.
pub fn line(figure: &Figure) -> String {
    format!("{}\t{}\t{}\n", figure.name, figure.unit, figure.value)
}

fn parse(line: &str) -> Option<(String, String, f64)> {
    let mut fields = line.split('\t');
    Some((fields.next()?.to_owned(), fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// This program, or the one beside it that counts its heap.
fn program(case: &Case) -> Result<PathBuf, String> {
    let mut path = std::env::current_exe().map_err(|error| error.to_string())?;
    if case.counts_heap {
        path.set_file_name("footprint");
    }
    Ok(path)
}

fn in_a_process(case: &Case, effort: Effort, limit: Duration) -> Result<Vec<(String, String, f64)>, String> {
    let mut command = Command::new(program(case)?);
    command.arg("measure").args(effort.quick.then_some("--quick")).arg(case.key());
    let (status, output, complaint) = bounded(command, limit)?;
    let figures: Vec<_> = output.lines().filter_map(parse).collect();
    if status && !figures.is_empty() {
        return Ok(figures);
    }
    Err(complaint
        .lines()
        .find(|line| !line.is_empty() && !line.starts_with("thread "))
        .unwrap_or("no figures")
        .to_owned())
}

/// Runs a command to its end or to a limit; whether it succeeded, and what it wrote.
pub fn bounded(mut command: Command, limit: Duration) -> Result<(bool, String, String), String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let (send, receive) = mpsc::channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = thread::spawn(move || {
        let (mut output, mut complaint) = (String::new(), String::new());
        thread::scope(|scope| {
            scope.spawn(|| stderr.map(|mut pipe| pipe.read_to_string(&mut complaint)));
            stdout.map(|mut pipe| pipe.read_to_string(&mut output))
        });
        let _ = send.send((output, complaint));
    });
    let read = receive.recv_timeout(limit);
    if read.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let _ = reading.join();
    match read {
        Ok((output, complaint)) => Ok((status.success(), output, complaint)),
        Err(_) => Err(format!("ended after {limit:?}")),
    }
}
