//! Reports and comparisons of results whose figures are known.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use roomcast_lab::report;
use roomcast_lab::result::{FILE, Report};

use super::report_fixture;

/// An empty folder of this test's.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lab-report").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A folder with the result, as `lab run` leaves it.
fn result(name: &str, report: &Report) -> PathBuf {
    let folder = folder(name);
    fs::write(folder.join(FILE), serde_json::to_string(report).expect("JSON")).expect("a file");
    folder
}

fn roomcast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roomcast")).args(arguments).output().expect("the binary runs")
}

#[test]
fn a_page_needs_nobody_and_no_script() {
    for report in [report_fixture::report(), report_fixture::run()] {
        let html = report::html(&report);
        let left = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for mark in ["http:", "https:", "//", "<script", "src=", "url(", "@import", " on"] {
            let found = left.find(mark).map(|at| left[at.saturating_sub(40)..].chars().take(90).collect::<String>());
            let is_word = mark == " on" && !left.contains("onload=") && !left.contains("onclick=");
            assert!(found.is_none() || is_word, "{mark} stands in the page: {found:?}");
        }
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    }
}

#[test]
fn answers_stand_first_and_carry_figures() {
    let report = report_fixture::report();
    let answers = report::answers(&report);
    let of = |words: &str| {
        let found = answers.iter().find(|(question, _)| question.contains(words));
        found.map(|(_, answer)| answer.clone()).unwrap_or_else(|| panic!("no question about {words}"))
    };
    assert!(of("cores").starts_with("Yes. 1.94 of 2 cores"), "{}", of("cores"));
    let pointers = of("pointers");
    assert!(
        pointers.starts_with("Yes.") && pointers.contains("64 KiB") && pointers.contains("3,000 times"),
        "{pointers}"
    );
    assert!(of("lost").starts_with("No. 0 lost, 0 repeated, 0 out of order"), "{}", of("lost"));
    assert!(of("the lab").contains("6 of 183"), "{}", of("the lab"));
    let html = report::html(&report);
    assert!(html.find("Are all cores used?") < html.find("At a glance"), "answers come first");
}

#[test]
fn each_sweep_says_how_it_grows() {
    let findings = report::findings(&report_fixture::report());
    let of = |title: &str| {
        let found = findings.iter().find(|(of, _)| of == title);
        found.map(|(_, sentences)| sentences.join(" ")).unwrap_or_else(|| panic!("no section {title}"))
    };
    assert!(of("Subscribers, over the network").contains("1.45 KiB for a subscriber"));
    assert!(of("Churners, over the network").contains("fixed part and one per unit"));
    assert!(of("Rooms, in process").contains("flat up to about 1,000 rooms"));
    assert!(of("Shards, in process").contains("2 shards deliver 2.00 times"));
    assert!(of("Wait, in process").contains("handler 0.82 ns, spin"));
    let sizes = of("Size by read, in process");
    assert!(sizes.contains("read ref: The cost of a delivery does not depend on bytes"), "{sizes}");
    assert!(sizes.contains("read clone: The cost of a delivery has a fixed part"), "{sizes}");
}

#[test]
fn where_the_lab_was_the_limit_the_page_warns() {
    let html = report::html(&report_fixture::report());
    assert!(html.contains("class=\"warning\">The lab is the bottleneck at 2 of 9 points"), "no warning");
    assert!(html.contains("<tr class=\"bound\">"), "the points are not marked");
}

#[test]
fn the_glance_says_what_its_columns_are_and_has_none_that_is_empty() {
    let glance = |report: &Report| {
        let html = report::html(report);
        html.split("id=\"glance\"").nth(1).and_then(|rest| rest.split("</section>").next()).expect("a table").to_owned()
    };
    let mut report = report_fixture::report();
    let text = glance(&report);
    assert!(text.contains(">limit</th>") && text.contains("the lab, at 2 of 9"), "{text}");
    assert!(text.contains("cost at the first") && text.contains("at the last"), "{text}");
    assert!(!text.contains(">first</th>"), "first of what?");
    for run in report.series.iter_mut().flat_map(|series| &mut series.points).flat_map(|point| &mut point.repeats) {
        run.is_lab_bound = false;
    }
    assert!(!glance(&report).contains("limit"), "a column without anything in it");
}

#[test]
fn from_every_section_a_link_leads_back() {
    let html = report::html(&report_fixture::report());
    let sections = html.matches("<section class=\"card\" id=").count();
    assert!(sections > 5, "{sections}");
    assert_eq!(html.matches("class=\"back\" href=\"#glance\"").count(), sections - 1, "all but the glance itself");
    assert!(!report::html(&report_fixture::run()).contains("#glance"), "a page without one has no link to it");
}

#[test]
fn one_is_not_said_to_be_many() {
    let mut report = report_fixture::run();
    let series = &mut report.series[0];
    (series.knob.name, series.knob.unit) = ("subscribers".to_owned(), "subscribers a room".to_owned());
    series.points[0].value = 1.0;
    series.points[0].repeats.truncate(1);
    series.points[0].repeats[0].checks.subscribers = 1;
    let said = report::html(&report);
    let found = ["1 subscribers", "1 measurements", "1 figures"].into_iter().find(|words| {
        said.match_indices(words)
            .any(|(at, _)| !said[..at].ends_with(|letter: char| letter.is_ascii_digit() || letter == ','))
    });
    assert_eq!(found, None, "{said}");
    assert!(said.contains("1 subscriber a room"), "{said}");
}

#[test]
fn nobody_is_told_of_room_where_there_was_none() {
    let mut report = report_fixture::run();
    for run in report.series.iter_mut().flat_map(|series| &mut series.points).flat_map(|point| &mut point.repeats) {
        // Nine tenths of two cores, nearly, in a run that goes as fast as it can.
        run.cpu.per_core = vec![0.9, 0.88];
        run.is_lab_bound = false;
    }
    let said = report::html(&report);
    assert!(said.contains("1.78 of 2 cores were busy") && said.contains("The cores had little left"), "{said}");
    assert!(!said.contains("room for more load"), "{said}");
}

#[test]
fn what_is_wrong_is_not_hidden() {
    let mut report = report_fixture::report();
    let checks = &mut report.series[0].points[0].repeats[0].checks;
    (checks.losses, checks.first) = (3, Some("subscriber 7 of room <b>: 5 after 3".to_owned()));
    let answers = report::answers(&report);
    let lost = &answers.iter().find(|(question, _)| question.contains("lost")).expect("the question").1;
    assert!(lost.starts_with("Yes. 3 lost") && lost.contains("subscriber 7"), "{lost}");
    let html = report::html(&report);
    assert!(html.contains("answer bad") && html.contains("room &lt;b&gt;"), "a name is not escaped");
}

#[test]
fn charts_lie_beside_the_page_as_svg_and_png() {
    let folder = folder("charts");
    let page = report::write(&report_fixture::report(), &folder).expect("a report");
    assert_eq!(page, folder.join(report::FILE));
    let charts = folder.join(report::CHARTS);
    let names: Vec<String> = fs::read_dir(&charts)
        .expect("charts")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let of = |ending: &str| names.iter().filter(|name| name.ends_with(ending)).count();
    assert_eq!(of(".svg"), of(".png"));
    for name in [
        "network-subscribers-delivered",
        "network-subscribers-latency",
        "library-size-ref-cost",
        "network-churners-joins",
    ] {
        let svg =
            fs::read_to_string(charts.join(format!("{name}.svg"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(svg.contains("prefers-color-scheme:dark") && svg.contains("<desc>"), "{name}");
        let png = fs::read(charts.join(format!("{name}.png"))).expect("a picture");
        assert!(png.starts_with(&[0x89, b'P', b'N', b'G']), "{name}");
    }
    let html = fs::read_to_string(page).expect("the page");
    assert_eq!(html.matches("<figure>").count(), of(".svg"), "each chart is in the page");
}

#[test]
fn a_sweep_of_two_knobs_has_a_line_for_each_value() {
    let html = report::html(&report_fixture::report());
    let section = html.split("<section class=\"card\" id=\"library-size-ref\"").nth(1).expect("the section");
    let figure = section.split("<figure>").nth(1).expect("a chart");
    for name in ["read ref", "read arc", "read clone"] {
        assert!(figure.contains(&format!(">{name}</text>")), "{name} is not in the legend");
    }
}

#[test]
fn a_single_run_shows_time_instead_of_a_knob() {
    let html = report::html(&report_fixture::run());
    for title in ["Rates over time", "Latency over time", "Memory over time", "Processor, core by core"] {
        assert!(html.contains(title), "{title} is missing");
    }
    assert!(!html.contains("At a glance"));
}

#[test]
fn an_empty_result_is_a_page_too() {
    let html = report::html(&Report::default());
    assert!(html.contains("Not measured") && !html.contains("NaN"), "{html}");
}

#[test]
fn the_command_writes_a_report_again() {
    let folder = result("again", &report_fixture::run());
    let output = roomcast(&["lab", "report", folder.to_str().expect("a path")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("Are all cores used?") && text.contains("1.40 of 2 cores"), "{text}");
    assert!(folder.join(report::FILE).is_file());
}

#[test]
fn the_command_compares_two_results() {
    let before = result("before", &report_fixture::report());
    let mut faster = report_fixture::report();
    for run in faster.series[0].points[8].repeats.iter_mut() {
        run.delivered *= 2;
    }
    let after = result("after", &faster);
    let page = after.join("compare.html");
    let [before, after, page] = [&before, &after, &page].map(|path| path.to_str().expect("a path"));
    let output = roomcast(&["lab", "compare", before, after, "--html", page]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    let row =
        text.lines().find(|line| line.starts_with("delivered/s") && line.contains("better, clear")).expect("the gain");
    assert!(row.contains("2.00x"), "{row}");
    assert!(text.contains("1 figure is clearly better") || text.contains("2 figures are clearly better"), "{text}");
    assert!(fs::read_to_string(page).expect("a page").contains("better, clear"));
}

#[test]
fn a_folder_without_a_result_is_refused_in_words() {
    let folder = folder("nothing");
    let output = roomcast(&["lab", "report", folder.to_str().expect("a path")]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("results.json cannot be read") && text.contains("lab run"), "{text}");
}

#[test]
fn a_machine_that_others_use_is_said_to_be() {
    let mut report = report_fixture::report();
    for run in report.series.iter_mut().flat_map(|series| &mut series.points).flat_map(|point| &mut point.repeats) {
        run.cpu.others = Some(0.3);
    }
    let html = report::html(&report);
    assert!(html.contains("class=\"warning\">Other programs took up to 30 % of the cores"), "no warning");
    let cores = &report::answers(&report)[0].1;
    assert!(cores.starts_with("Not all. 1.34 of 2 cores"), "what others took is not ours: {cores}");
}
