//! The report: a table per workload, and what became of the targets.

use std::env;
use std::fmt::Write;
use std::process::Command;

use crate::machine;
use crate::measure::{Case, Cases, grouped, key, median};
use crate::run::{Outcomes, Plan, Results};
use crate::targets::{Bound, TARGETS, Target};
use crate::workloads::TITLES;

/// Who everybody is compared with.
const BASE: &str = "roomcast";

/// The verdict where the one a target compares with was left out.
const NO_RIVAL: &str = "rival not measured";

/// The whole report.
pub fn markdown(plan: &Plan, cases: &Cases, results: &Results) -> String {
    let mut text = head(plan, results);
    let sheet = Sheet { cases, outcomes: &results.outcomes };
    sheet.summary(&mut text);
    for (workload, title) in TITLES {
        if cases.all.iter().any(|case| case.workload == *workload && plan.wants(case)) {
            sheet.table(&mut text, plan, workload, title);
        }
    }
    text
}

fn head(plan: &Plan, results: &Results) -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
    };
    let thoroughly = if plan.effort.quick { "quick: an impression only" } else { "full" };
    format!(
        "# Roomcast and its rivals\n\n\
         Written by `make bench-rivals`; do not edit. One measurement is one process; rivals take turns, {} rounds \
         ({thoroughly}), {:.0?} in all. Shown are the median and the least and greatest of the rounds. A ratio is to \
         the row of `{BASE}` with the same name. `make bench-rivals ROWS='L3 --rival tokio'` measures \
         some rows and prints them; `rivals` with `list` names all, with `measure` and a name from the list runs one \
         in its own process, for a profiler.\n\n\
         * command: `rivals {}`\n* date: {}\n* commit: {}\n* machine: {}\n* compiler: {}\n* versions: {}\n\n",
        plan.rounds,
        results.took,
        env::args().skip(1).collect::<Vec<_>>().join(" "),
        run("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        run("git", &["describe", "--always", "--dirty"]),
        machine::description(),
        run("rustc", &["--version"]),
        versions(),
    )
}

/// The rivals with their versions, as locked.
fn versions() -> String {
    const RIVALS: [&str; 11] = [
        "tokio",
        "async-broadcast",
        "bus",
        "disruptor",
        "ringcast",
        "crossbeam-channel",
        "dashmap",
        "flume",
        "thingbuf",
        "bytes",
        "roomcast",
    ];
    let locked = include_str!("../Cargo.lock");
    let version = |name: &str| {
        let entry = locked.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
        let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
        format!("{name} {}", version.unwrap_or("unknown"))
    };
    RIVALS.map(version).join(", ")
}

struct Sheet<'a> {
    cases: &'a Cases,
    outcomes: &'a Outcomes,
}

impl Sheet<'_> {
    fn values(&self, case: &Case, figure: &str) -> Option<Vec<f64>> {
        let outcome = self.outcomes.get(&case.key())?;
        outcome.figures.iter().find(|(name, ..)| name == figure).map(|(.., values)| values.clone())
    }

    fn median(&self, workload: &str, name: &str, contender: &str, figure: &str) -> Option<f64> {
        let is_it = |case: &&Case| case.workload == workload && case.name == name && case.contender == contender;
        self.cases
            .all
            .iter()
            .find(is_it)
            .and_then(|case| self.values(case, figure))
            .map(|mut values| median(&mut values))
    }

    fn table(&self, text: &mut String, plan: &Plan, workload: &str, title: &str) {
        let _ = write!(text, "## {workload}: {title}\n\n");
        text.push_str("| row | who | figure | median | least – greatest | ratio | target | met |\n");
        text.push_str("|---|---|---|--:|--:|--:|---|---|\n");
        for case in self.cases.all.iter().filter(|case| case.workload == workload && plan.wants(case)) {
            let Some(outcome) = self.outcomes.get(&case.key()) else { continue };
            if let Some(failure) = &outcome.failure {
                let _ = writeln!(text, "| {} | {} | – | – | – | – | | failed: {failure} |", case.name, case.contender);
            }
            for (figure, unit, values) in &outcome.figures {
                let mut values = values.clone();
                let middle = median(&mut values);
                let base = self.median(workload, &case.name, BASE, figure);
                let ratio = base.filter(|base| *base != 0.0).map_or("–".to_owned(), |base| number(middle / base));
                let target = TARGETS.iter().find(|it| it.of == (workload, &*case.name, case.contender, &**figure));
                let (wish, verdict) = target.map_or_else(Default::default, |it| (wish(it), self.verdict(it, middle)));
                let _ = writeln!(
                    text,
                    "| {} | {} | {figure}, {unit} | {} | {} – {} | {ratio} | {wish} | {verdict} |",
                    case.name,
                    case.contender,
                    number(middle),
                    number(values[0]),
                    number(values[values.len() - 1]),
                );
            }
        }
        for (_, who, reason) in self.cases.lacking.iter().filter(|(of, ..)| *of == workload) {
            let _ = write!(text, "\n– {who}: {reason}.\n");
        }
        text.push('\n');
    }

    fn summary(&self, text: &mut String) {
        let mut rows = String::new();
        let (mut counts, mut missing) = ([0; 3], 0);
        for target in TARGETS {
            let (workload, name, contender, figure) = target.of;
            let Some(measured) = self.median(workload, name, contender, figure) else {
                if self.outcomes.contains_key(&key(workload, name, contender)) {
                    missing += 1;
                    let wish = wish(target);
                    let _ =
                        writeln!(rows, "| {workload} | {name} | {contender} | {figure} | – | {wish} | not measured |");
                }
                continue;
            };
            let verdict = self.verdict(target, measured);
            match &*verdict {
                NO_RIVAL => missing += 1,
                met if met.starts_with("yes") => counts[0] += 1,
                missed if missed.starts_with("no") => counts[1] += 1,
                _ => counts[2] += 1,
            }
            let wish = wish(target);
            let _ = writeln!(
                rows,
                "| {workload} | {name} | {contender} | {figure} | {} | {wish} | {verdict} |",
                number(measured)
            );
        }
        if rows.is_empty() {
            return;
        }
        let [met, missed, by_ratio] = counts;
        let _ = write!(
            text,
            "## Targets\n\nMet {met}, met by ratio {by_ratio}, missed {missed}, not measured {missing}. *By ratio*: missed as a figure, but met \
             as a multiple of the rival it was set beside, which this run measured too.\n\n\
             | | row | who | figure | measured | target | met |\n|---|---|---|---|--:|---|---|\n{rows}\n"
        );
    }

    fn verdict(&self, target: &Target, measured: f64) -> String {
        let (workload, name, _, figure) = target.of;
        let is_met = match target.bound {
            Bound::Most(bound) => measured <= bound,
            Bound::Least(bound) => measured >= bound,
            Bound::MostTimes(factor, row, other) | Bound::LeastTimes(factor, row, other) => {
                let Some(base) = self.median(workload, row, other, figure) else { return NO_RIVAL.to_owned() };
                let ratio = measured / base;
                let is_most = matches!(target.bound, Bound::MostTimes(..));
                let is_met = if is_most { ratio <= factor } else { ratio >= factor };
                return format!("{} ({} ×)", if is_met { "yes" } else { "no" }, number(ratio));
            }
        };
        let by_ratio = || {
            let (rival, reference) = target.beside?;
            let ratio = measured / self.median(workload, name, rival, figure)?;
            let is_met = match target.bound {
                Bound::Most(bound) => ratio <= bound / reference,
                Bound::Least(bound) => ratio >= bound / reference,
                _ => false,
            };
            Some((is_met, format!("{} × {rival}", number(ratio))))
        };
        match (is_met, by_ratio()) {
            (true, None) => "yes".to_owned(),
            (true, Some((_, ratio))) => format!("yes ({ratio})"),
            (false, Some((true, ratio))) => format!("by ratio ({ratio})"),
            (false, Some((false, ratio))) => format!("no ({ratio})"),
            (false, None) => "no".to_owned(),
        }
    }
}

fn wish(target: &Target) -> String {
    let beside = |bound: f64| match target.beside {
        Some((rival, reference)) => format!(", {} × {rival}", number(bound / reference)),
        None => String::new(),
    };
    match target.bound {
        Bound::Most(bound) => format!("≤ {}{}", number(bound), beside(bound)),
        Bound::Least(bound) => format!("≥ {}{}", number(bound), beside(bound)),
        Bound::MostTimes(factor, row, who) => format!("≤ {} × {who}, {row}", number(factor)),
        Bound::LeastTimes(factor, row, who) => format!("≥ {} × {who}, {row}", number(factor)),
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => grouped(value.round() as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Outcome;
    use crate::workloads;

    const ROW: &str = "u64, 1 unread";

    fn summary(figures: &[(&str, f64)]) -> String {
        let mut outcomes = Outcomes::new();
        for (who, value) in figures {
            let mut outcome = Outcome::default();
            outcome.figures.push(("publish".to_owned(), "ns".to_owned(), vec![*value]));
            outcomes.insert(key("L1", ROW, who), outcome);
        }
        let mut text = String::new();
        Sheet { cases: &workloads::all(), outcomes: &outcomes }.summary(&mut text);
        text
    }

    #[test]
    fn a_target_is_met_by_figure_or_by_ratio_or_missed() {
        assert!(summary(&[(BASE, 11.0), ("tokio", 26.0)]).contains("Met 1, met by ratio 0, missed 0"));
        assert!(summary(&[(BASE, 18.0), ("tokio", 52.0)]).contains("Met 0, met by ratio 1, missed 0"));
        assert!(summary(&[(BASE, 18.0), ("tokio", 26.0)]).contains("Met 0, met by ratio 0, missed 1"));
        assert!(summary(&[(BASE, 18.0)]).contains("missed 1"), "without the rival there is no ratio");
        assert_eq!(summary(&[("tokio", 26.0)]), "", "what was not asked for is not reported");
    }

    #[test]
    fn a_target_without_its_figure_is_told() {
        let mut outcomes = Outcomes::new();
        outcomes.insert(key("L1", ROW, BASE), Outcome { figures: Vec::new(), failure: Some("it failed".to_owned()) });
        let mut text = String::new();
        Sheet { cases: &workloads::all(), outcomes: &outcomes }.summary(&mut text);
        assert!(text.contains("not measured 1"), "{text}");
    }

    #[test]
    fn figures_have_three_digits_that_count() {
        assert_eq!([0.1234, 1.234, 12.34, 1_234_567.0].map(number), ["0.123", "1.23", "12.3", "1,234,567"]);
    }
}
