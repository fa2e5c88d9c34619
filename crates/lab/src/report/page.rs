//! The page: one file of HTML that asks nobody for anything.

use super::answers::Answer;
use super::figures::Figure;
use super::group::Group;
use super::measure::{cost, growth, is_lab_bound};
use super::table;
use super::verdict::{self, Tone};
use crate::chart::{self, Setting, Unit, escaped};
use crate::result::{Report, Target};

/// A group with its charts.
pub(super) struct Section<'a> {
    pub(super) group: Group<'a>,
    pub(super) figures: Vec<Figure>,
}

/// The whole page.
pub(super) fn page(report: &Report, sections: &[Section<'_>], answers: &[Answer]) -> String {
    let title = format!("{}: how roomcast scales", report.scenario.name);
    let mut body = String::new();
    body.push_str(&head(report));
    body.push_str("<main><div class=\"answers\">");
    answers.iter().for_each(|answer| body.push_str(&card(answer)));
    body.push_str("</div>");
    let has_glance = sections.iter().filter(|section| section.group.is_sweep()).count() > 1;
    if has_glance {
        body.push_str(&glance(sections));
    }
    let back = if has_glance { "<a class=\"back\" href=\"#glance\">↑ At a glance</a>" } else { "" };
    sections.iter().for_each(|shown| body.push_str(&section(report, shown, back)));
    body.push_str("</main>");
    body.push_str(&foot(report));
    document(&title, &body)
}

/// HTML around a body, with the sheet that reports and comparisons share.
pub(crate) fn document(title: &str, body: &str) -> String {
    let light = format!("{LIGHT}{}", chart::variables(false));
    let dark = format!("{DARK}{}", chart::variables(true));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{}</title><link rel=\"icon\" href=\"data:,\"><style>:root{{{light}}}\
         @media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{}{}</style></head>\n<body>{body}</body></html>\n",
        escaped(title),
        include_str!("style.css"),
        chart::report()
    )
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let cores = match machine.cores {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    let memory = Unit::Bytes.text(machine.memory as f64);
    let facts = [
        ("Machine", format!("{cores}, {}, {memory}, {}", machine.cpu, machine.kernel)),
        ("Begun", report.started.clone()),
        ("roomcast", report.roomcast.clone()),
        ("Seed", report.scenario.seed.to_string()),
    ];
    let facts: String = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value)))
        .chain([format!("<div><dt>Typed</dt><dd><code>{}</code></dd></div>", escaped(&report.command))])
        .collect();
    let about = match report.scenario.about.is_empty() {
        true => String::new(),
        false => format!("<p class=\"about\">{}</p>", escaped(&super::group::capital(&report.scenario.about))),
    };
    format!(
        "<header class=\"top\"><p class=\"kind\">roomcast lab</p><h1>{}</h1>{about}<dl class=\"facts\">{facts}</dl></header>",
        escaped(&report.scenario.name)
    )
}

fn card(answer: &Answer) -> String {
    format!(
        "<section class=\"answer{}\"><h3>{}</h3><p class=\"short\">{}</p><p>{}</p></section>",
        tone(answer.tone),
        escaped(answer.question),
        escaped(&answer.short),
        escaped(&answer.sentence)
    )
}

pub(super) fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => " good",
        Tone::Bad => " bad",
        Tone::Plain => "",
    }
}

/// All sweeps in one table: how the cost of each grows.
fn glance(sections: &[Section<'_>]) -> String {
    let mut rows = String::new();
    let has_bounds = sections
        .iter()
        .filter(|section| section.group.is_sweep())
        .flat_map(|section| &section.group.series)
        .any(|series| series.points.iter().any(is_lab_bound));
    for Section { group, .. } in sections.iter().filter(|section| section.group.is_sweep()) {
        for series in &group.series {
            let (first, last) = (series.points.first(), series.points.last());
            let range = first.zip(last).map_or_else(String::new, |(first, last)| match series.knob.unit.is_empty() {
                true => series.points.iter().map(|point| &*point.label).collect::<Vec<_>>().join(", "),
                false => format!("{} to {}", group.spoken(first), group.spoken(last)),
            });
            let second = series.second_knob.as_ref();
            let second = second.map_or_else(String::new, |knob| format!(", {} {}", knob.name, knob.value));
            let target = match (series.target, &*series.drive) {
                (Target::Network, "open") => "network, schedule",
                (Target::Network, _) => "network",
                (_, "open") => "library, schedule",
                _ => "library",
            };
            let (word, mood) = match verdict::times(series) {
                Some(times) => (format!("delivers {times:.2} times"), Tone::Plain),
                None => growth(series, cost).map_or((String::new(), Tone::Plain), |found| verdict::tag(&found)),
            };
            let word = if word.is_empty() {
                String::new()
            } else {
                format!("<span class=\"tag{}\">{}</span>", tone(mood), escaped(&word))
            };
            let bound = series.points.iter().filter(|point| is_lab_bound(point)).count();
            let bound = match bound {
                _ if !has_bounds => String::new(),
                0 => "<td class=\"text\" data-head=\"limit\">–</td>".to_owned(),
                bound => format!(
                    "<td class=\"text\" data-head=\"limit\">the lab, at {bound} of {}</td>",
                    series.points.len()
                ),
            };
            rows.push_str(&format!(
                "<tr><td><a href=\"#{}\">{}</a></td><td class=\"text verdict\">{word}</td>\
                 <td class=\"text\" data-head=\"target\">{target}</td><td class=\"text\" data-head=\"turned\">{}</td>\
                 <td class=\"text\">{}</td><td data-head=\"cost at the first\">{}</td>\
                 <td data-head=\"at the last\">{}</td>{bound}</tr>",
                group.name,
                escaped(&format!("{}{second}", series.knob.name)),
                escaped(&range),
                table::spark(series, cost),
                first.map_or_else(String::new, |point| table::cell(point, Unit::Nanoseconds, cost)),
                last.map_or_else(String::new, |point| table::cell(point, Unit::Nanoseconds, cost)),
            ));
        }
    }
    let limit = if has_bounds { "<th class=\"text\">limit</th>" } else { "" };
    format!(
        "<section class=\"card\" id=\"glance\"><h2>At a glance</h2><p class=\"kept\">Processor time for each delivery: how it \
         grows when a knob is turned, and what it is at the first value and at the last.</p><table class=\"stacked\"><thead><tr>\
         <th>knob</th><th class=\"text\">growth</th><th class=\"text\">target</th><th class=\"text\">turned</th>\
         <th class=\"text\">curve</th><th>cost at the first</th><th>at the last</th>{limit}</tr></thead><tbody>{rows}</tbody>\
         </table></section>"
    )
}

fn section(report: &Report, section: &Section<'_>, back: &str) -> String {
    let group = &section.group;
    let kept = group.first().kept.iter().map(|setting| format!("{} {}", setting.name, setting.value));
    let drive = match &*group.first().drive {
        "open" => Some("on a schedule (open loop)".to_owned()),
        "closed" => Some("as fast as it goes (closed loop)".to_owned()),
        _ => None,
    };
    let kept: Vec<_> = drive.into_iter().chain(kept).collect();
    let (mut words, mut warnings) = (String::new(), String::new());
    for sentence in verdict::sentences(report, group) {
        match [verdict::LAB_BOUND, verdict::OTHERS].iter().any(|beginning| sentence.starts_with(beginning)) {
            true => warnings.push_str(&format!("<p class=\"warning\">{}</p>", escaped(&sentence))),
            false => words.push_str(&format!("<li>{}</li>", escaped(&sentence))),
        }
    }
    let figures: String =
        section.figures.iter().map(|figure| format!("<figure>{}</figure>", figure.chart.svg(Setting::Page))).collect();
    format!(
        "<section class=\"card\" id=\"{0}\">{back}<h2><a href=\"#{0}\">{1}</a></h2><p class=\"kept\">{2}</p><ul class=\"words\">{words}</ul>\
         {warnings}<div class=\"charts\">{figures}</div><details><summary>The figures</summary>{3}</details></section>",
        group.name,
        escaped(&group.title()),
        escaped(&kept.join(" · ")),
        table::tables(group)
    )
}

fn foot(report: &Report) -> String {
    let notes: String = report.notes.iter().map(|note| format!("<p>{}</p>", escaped(note))).collect();
    let toml = match report.scenario.toml.is_empty() {
        true => String::new(),
        false => {
            format!("<details><summary>The scenario</summary><pre>{}</pre></details>", escaped(&report.scenario.toml))
        }
    };
    format!(
        "<footer>{notes}<p>Points are medians of the repeats; bands reach from the smallest to the largest. A dashed line is what \
         would be: what the schedule asks for; else in proportion where the knob adds cores or listeners; else the best point's \
         level all along. Point at a mark for its figures.</p>{toml}</footer>"
    )
}

/// Colours of the page in light, by name.
const LIGHT: &str = "--paper:#fffefc;--shade:#f5f3ee;--line:#e4e0d7;--line-strong:#cfc9bc;--ink:#24221e;--soft:#5d594f;\
    --faint:#736e62;--accent:#1c6f5f;--good:#1c7a4c;--bad:#a8322c;--warn:#8f4a12;--warn-wash:#fbeedd;--wash:#f1eee7;";
/// And in dark.
const DARK: &str = "--paper:#191c1e;--shade:#141618;--line:#2a2e31;--line-strong:#40464a;--ink:#e9e6df;--soft:#b3b0a7;\
    --faint:#918f87;--accent:#6fc6b1;--good:#62c48f;--bad:#f0938c;--warn:#f0b878;--warn-wash:#35291a;--wash:#24282b;";
