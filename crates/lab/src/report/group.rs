//! The sections of a report: series that turn the same knob on the same target stand together.

use crate::chart::Unit;
use crate::fit::count;
use crate::result::{Point, Report, Series, Target};

/// One section: a sweep of one knob, or of two as several series.
pub(super) struct Group<'a> {
    /// Never empty.
    pub(super) series: Vec<&'a Series>,
    /// Fit for the name of a file and for an anchor.
    pub(super) name: String,
}

impl<'a> Group<'a> {
    /// The groups of a report, in the order in which their first series stand.
    pub(super) fn all(report: &'a Report) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for series in &report.series {
            let together = |group: &&mut Self| {
                let first = group.series[0];
                let second = |series: &Series| series.second_knob.as_ref().map(|setting| setting.name.clone());
                first.target == series.target
                    && first.knob == series.knob
                    && first.drive == series.drive
                    && series.second_knob.is_some()
                    && second(first) == second(series)
            };
            match groups.iter_mut().find(together) {
                Some(group) => group.series.push(series),
                None => groups.push(Self { series: vec![series], name: file_name(&series.name) }),
            }
        }
        for index in 0..groups.len() {
            let is_taken = groups[..index].iter().any(|group| group.name == groups[index].name);
            if is_taken {
                groups[index].name.push_str(&format!("-{index}"));
            }
        }
        groups
    }

    pub(super) fn first(&self) -> &'a Series {
        self.series[0]
    }

    pub(super) fn target(&self) -> Target {
        self.first().target
    }

    /// Whether a knob was turned.
    pub(super) fn is_sweep(&self) -> bool {
        !self.first().knob.name.is_empty() && self.series.iter().any(|series| series.points.len() > 1)
    }

    /// What the section is about: `Subscribers, over the network`.
    pub(super) fn title(&self) -> String {
        let place = match self.target() {
            Target::Library => "in process",
            Target::Network => "over the network",
        };
        let place = if self.first().drive == "open" { format!("{place}, on a schedule") } else { place.to_owned() };
        let knob = &self.first().knob.name;
        if knob.is_empty() {
            return format!("One run, {place}");
        }
        let second = self.first().second_knob.as_ref();
        let second = second.map_or_else(String::new, |setting| format!(" by {}", spoken(&setting.name)));
        format!("{}{second}, {place}", capital(&spoken(knob)))
    }

    /// What one of several series is called.
    pub(super) fn label(&self, series: &Series) -> String {
        match &series.second_knob {
            Some(setting) => format!("{} {}", spoken(&setting.name), setting.value),
            None => "measured".to_owned(),
        }
    }

    /// A value of the knob, as a person writes it.
    pub(super) fn spoken(&self, point: &Point) -> String {
        match self.first().knob.unit.as_str() {
            "" => point.label.clone(),
            "bytes" => Unit::Bytes.text(point.value),
            _ => count(point.value),
        }
    }

    /// What the knob counts, for sentences: `subscribers a room`.
    pub(super) fn counted(&self) -> String {
        let knob = &self.first().knob;
        if knob.unit.is_empty() { spoken(&knob.name) } else { knob.unit.clone() }
    }
}

/// The name as it may stand in a sentence.
fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn file_name(name: &str) -> String {
    let kept =
        |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(kept).collect();
    if name.is_empty() { "run".to_owned() } else { name }
}
