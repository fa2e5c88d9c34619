//! What is left on disk: `results.json` and `results.csv`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::result::{FILE, Report};

/// Writes both into a folder, which is made if it is not there.
///
/// # Errors
/// What the system says.
pub fn write(folder: &Path, report: &Report) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(FILE), serde_json::to_string(report)?)?;
    fs::write(folder.join("results.csv"), csv(report))
}

/// A line for each measurement.
fn csv(report: &Report) -> String {
    let mut out = String::from(
        "series,target,drive,knob,value,second,repeat,seconds,published,delivered,expected,published_per_s,\
         delivered_per_s,offered_per_s,p50_ns,p90_ns,p99_ns,p999_ns,max_ns,cpu_s,cpu_lab_s,cpu_target_s,\
         cpu_ns_per_delivery,resident_start,resident_end,voluntary_switches,involuntary_switches,lagged,conflated,\
         dropped,jain,order_violations,duplicates,losses,joins,join_p50_ns,lab_bound,bottleneck\n",
    );
    let rows = report.series.iter().flat_map(|series| {
        series.points.iter().flat_map(move |point| {
            point.repeats.iter().enumerate().map(move |(repeat, run)| (series, point, repeat, run))
        })
    });
    for (series, point, repeat, run) in rows {
        let second = series.second_knob.as_ref().map(|second| format!("{}={}", second.name, second.value));
        let latency = &run.latency;
        let switches = run.context_switches.unwrap_or_default();
        let cells = [
            series.name.clone(),
            series.target.to_string(),
            series.drive.clone(),
            series.knob.name.clone(),
            point.label.clone(),
            second.unwrap_or_default(),
            repeat.to_string(),
            run.seconds.to_string(),
            run.published.to_string(),
            run.delivered.to_string(),
            run.expected.to_string(),
            format!("{:.1}", run.published_rate()),
            format!("{:.1}", run.delivered_rate()),
            optional(run.offered_rate),
            latency.p50.to_string(),
            latency.p90.to_string(),
            latency.p99.to_string(),
            latency.p999.to_string(),
            latency.max.to_string(),
            run.cpu.seconds_total.to_string(),
            optional(run.cpu.lab_seconds),
            optional(run.cpu.target_seconds),
            format!("{:.2}", run.cpu_ns_per_delivery()),
            run.memory.resident_start.to_string(),
            run.memory.resident_end.to_string(),
            switches.voluntary.to_string(),
            switches.involuntary.to_string(),
            run.lagged.to_string(),
            run.conflated.to_string(),
            run.dropped.to_string(),
            optional(run.fairness.map(|fairness| fairness.jain)),
            run.checks.order_violations.to_string(),
            run.checks.duplicates.to_string(),
            run.checks.losses.to_string(),
            run.joins.to_string(),
            optional(run.join_latency.as_ref().map(|latency| latency.p50)),
            run.is_lab_bound.to_string(),
            run.bottleneck.clone().unwrap_or_default(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        // Writing into a string does not fail.
        let _ = writeln!(out, "{}", cells.join(","));
    }
    out
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::result::{Point, Run, Series};
    use super::*;

    #[test]
    fn every_row_has_a_cell_for_each_head() {
        let run = Run { bottleneck: Some("the lab, of course".to_owned()), seconds: 1.0, ..Run::default() };
        let point = Point { repeats: vec![run.clone(), run], ..Point::default() };
        let report = Report { series: vec![Series { points: vec![point], ..Series::default() }], ..Report::default() };
        let csv = csv(&report);
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with(",\"the lab, of course\""));
        assert_eq!(lines[0].split(',').count(), lines[1].replace("the lab, of", "").split(',').count());
    }
}
