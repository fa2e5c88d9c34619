//! The report: a table per workload, and what became of the targets.

use std::env;
use std::fmt::Write;

use crate::measure::{Case, grouped, key, median};
use crate::origin::said;
use crate::run::{Outcomes, Plan, Results};
use crate::targets::{Bound, Target};
use crate::{Suite, machine};

/// The verdict where the one a target compares with was left out.
const NO_RIVAL: &str = "rival not measured";

/// The whole report.
pub fn markdown(suite: &Suite, plan: &Plan, results: &Results) -> String {
    let mut text = head(suite, plan, results);
    let tables = Tables { suite, outcomes: &results.outcomes };
    tables.summary(&mut text);
    for (workload, title) in suite.titles {
        if suite.cases.all.iter().any(|case| case.workload == *workload && plan.wants(case)) {
            tables.table(&mut text, plan, workload, title);
        }
    }
    text
}

fn head(suite: &Suite, plan: &Plan, results: &Results) -> String {
    let Suite { program, make_target, title, method, base, .. } = suite;
    let thoroughly = if plan.effort.quick { "quick: an impression only" } else { "full" };
    format!(
        "# {title}\n\n\
         Written by `make {make_target}`; do not edit. One measurement is one process; rivals take turns, {} rounds \
         ({thoroughly}), {:.0?} in all. Shown are the median and the least and greatest of the rounds. A ratio is to \
         the row of `{base}` with the same name. `make {make_target} ROWS='{} --rival {base}'` measures \
         some rows and prints them; `{program}` with `list` names all, with `measure` and a name from the list runs one \
         in its own process, for a profiler.{method}\n\n\
         * command: `{program} {}`\n* date: {}\n{}* machine: {}\n* compiler: {}\n* versions: {}\n\n",
        plan.rounds,
        results.took,
        suite.titles.last().map_or("", |(workload, _)| workload),
        env::args().skip(1).map(without_folders).collect::<Vec<_>>().join(" "),
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        results.origin.lines(),
        machine::description(),
        said("rustc", &["--version"]),
        (suite.versions)(),
    )
}

struct Tables<'a> {
    suite: &'a Suite,
    outcomes: &'a Outcomes,
}

impl Tables<'_> {
    fn values(&self, case: &Case, figure: &str) -> Option<Vec<f64>> {
        let outcome = self.outcomes.get(&case.key())?;
        outcome.figures.iter().find(|(name, ..)| name == figure).map(|(.., values)| values.clone())
    }

    fn median(&self, workload: &str, name: &str, contender: &str, figure: &str) -> Option<f64> {
        let is_it = |case: &&Case| case.workload == workload && case.name == name && case.contender == contender;
        self.suite
            .cases
            .all
            .iter()
            .find(is_it)
            .and_then(|case| self.values(case, figure))
            .map(|mut values| median(&mut values))
    }

    fn table(&self, text: &mut String, plan: &Plan, workload: &str, title: &str) {
        let _ = write!(text, "## {workload}: {title}\n\n");
        text.push_str("| row | who | figure | median | least – greatest | ratio | target | met | limit |\n");
        text.push_str("|---|---|---|--:|--:|--:|---|---|---|\n");
        for case in self.suite.cases.all.iter().filter(|case| case.workload == workload && plan.wants(case)) {
            let Some(outcome) = self.outcomes.get(&case.key()) else { continue };
            if let Some(failure) = &outcome.failure {
                let _ =
                    writeln!(text, "| {} | {} | – | – | – | – | | {} | |", case.name, case.contender, told(failure));
            }
            let limit = self.limit(workload, &case.name, case.contender).unwrap_or_default();
            for (figure, unit, values) in &outcome.figures {
                let mut values = values.clone();
                let middle = median(&mut values);
                let base = self.median(workload, &case.name, self.suite.base, figure);
                let ratio = base.filter(|base| *base != 0.0).map_or("–".to_owned(), |base| number(middle / base));
                let of = (workload, &*case.name, case.contender, &**figure);
                let targets = || self.suite.targets.iter().filter(|target| target.of == of);
                let wishes = targets().map(wish).collect::<Vec<_>>().join("; ");
                let verdicts = targets().map(|target| self.verdict(target, middle)).collect::<Vec<_>>().join("; ");
                let _ = writeln!(
                    text,
                    "| {} | {} | {figure}, {unit} | {} | {} – {} | {ratio} | {wishes} | {verdicts} | {limit} |",
                    case.name,
                    case.contender,
                    number(middle),
                    number(values[0]),
                    number(values[values.len() - 1]),
                );
            }
        }
        for (_, who, reason) in self.suite.cases.lacking.iter().filter(|(of, ..)| *of == workload) {
            let _ = write!(text, "\n– {who}: {reason}.\n");
        }
        text.push('\n');
    }

    /// Who was the limit of a row, if not the contender.
    fn limit(&self, workload: &str, name: &str, contender: &str) -> Option<&'static str> {
        let limit = self.suite.limit_of?;
        self.median(workload, name, contender, limit.figure).filter(|busy| *busy >= limit.from).map(|_| limit.who)
    }

    fn summary(&self, text: &mut String) {
        let mut rows = String::new();
        let (mut counts, mut missing) = ([0; 3], 0);
        for target in &self.suite.targets {
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
            let mut verdict = self.verdict(target, measured);
            match &*verdict {
                NO_RIVAL => missing += 1,
                met if met.starts_with("yes") => counts[0] += 1,
                missed if missed.starts_with("no") => counts[1] += 1,
                _ => counts[2] += 1,
            }
            if let Some(limit) = self.limit(workload, name, contender) {
                let _ = write!(verdict, "; the limit was {limit}");
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

/// A report that is kept names no folder of the machine it was made on.
fn without_folders(argument: String) -> String {
    match argument.strip_prefix('/').and_then(|path| path.rsplit('/').next()) {
        Some(file) => file.to_owned(),
        None => argument,
    }
}

/// A failure as the table has it: whoever could not be started was not run, all else failed.
fn told(failure: &str) -> String {
    let failure = failure.replace('|', "/");
    if failure.starts_with("not run: ") { failure } else { format!("failed: {failure}") }
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
    use crate::tests::suite;

    fn tables(outcomes: &[(&str, Outcome)], write: impl Fn(&Tables<'_>, &mut String)) -> String {
        let outcomes = outcomes.iter().map(|(who, outcome)| (key("W1", "row", who), outcome.clone())).collect();
        let mut text = String::new();
        write(&Tables { suite: &suite(), outcomes: &outcomes }, &mut text);
        text
    }

    fn cost(value: f64) -> Outcome {
        Outcome { figures: vec![("cost".to_owned(), "ns".to_owned(), vec![value])], failure: None }
    }

    fn failed(failure: &str) -> Outcome {
        Outcome { figures: Vec::new(), failure: Some(failure.to_owned()) }
    }

    #[test]
    fn a_target_is_met_by_figure_or_by_ratio_or_missed() {
        let summary = |outcomes: &[(&str, Outcome)]| tables(outcomes, |tables, text| tables.summary(text));
        assert!(summary(&[("we", cost(11.0)), ("they", cost(26.0))]).contains("Met 1, met by ratio 0, missed 0"));
        assert!(summary(&[("we", cost(18.0)), ("they", cost(52.0))]).contains("Met 0, met by ratio 1, missed 0"));
        assert!(summary(&[("we", cost(18.0)), ("they", cost(26.0))]).contains("Met 0, met by ratio 0, missed 1"));
        assert!(summary(&[("we", cost(18.0))]).contains("missed 1"), "without the rival there is no ratio");
        assert_eq!(summary(&[("they", cost(26.0))]), "", "what was not asked for is not reported");
    }

    #[test]
    fn a_target_without_its_figure_is_told() {
        let text = tables(&[("we", failed("it failed"))], |tables, text| tables.summary(text));
        assert!(text.contains("not measured 1"), "{text}");
    }

    #[test]
    fn who_failed_and_who_was_not_run_have_a_row() {
        let outcomes = [("we", failed("a|b")), ("they", failed("not run: not installed"))];
        let text = tables(&outcomes, |tables, text| tables.table(text, &Plan::default(), "W1", "a workload"));
        assert!(text.contains("| row | we | – | – | – | – | | failed: a/b | |"), "{text}");
        assert!(text.contains("| row | they | – | – | – | – | | not run: not installed | |"), "{text}");
    }

    #[test]
    fn a_row_says_when_the_load_was_its_limit() {
        let busy = |percent| {
            let mut outcome = cost(11.0);
            outcome.figures.push(("busy".to_owned(), "%".to_owned(), vec![percent]));
            outcome
        };
        let outcomes = [("we", busy(97.0)), ("they", busy(60.0))];
        let text = tables(&outcomes, |tables, text| tables.table(text, &Plan::default(), "W1", "a workload"));
        let row =
            |who: &str| text.lines().find(|line| line.contains(&format!("| {who} | cost"))).expect("a row").to_owned();
        assert!(row("we").ends_with("| the load |"), "{text}");
        assert!(row("they").ends_with("| |") || row("they").ends_with("|  |"), "{text}");
        let text = tables(&outcomes, |tables, text| tables.summary(text));
        assert!(text.contains("; the limit was the load |"), "{text}");
    }

    #[test]
    fn figures_have_three_digits_that_count() {
        assert_eq!([0.1234, 1.234, 12.34, 1_234_567.0].map(number), ["0.123", "1.23", "12.3", "1,234,567"]);
    }
}
