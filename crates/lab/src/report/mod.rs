//! The report of a measurement: one page that a person likes to look at, and each chart as SVG and PNG.

mod answers;
mod figures;
mod group;
pub(super) mod measure;
pub(super) mod page;
mod table;
mod verdict;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::group::Group;
use self::page::Section;
use super::chart::{PictureError, Pictures, Setting};
use super::result::Report;

/// The page in the folder of a report.
pub const FILE: &str = "report.html";
/// The folder of charts beside it.
pub const CHARTS: &str = "charts";

/// Why no report was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// A file or folder could not be written.
    Io(PathBuf, io::Error),
    /// A chart could not be made a picture.
    Picture(PathBuf, PictureError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{} cannot be written: {error}", path.display()),
            Self::Picture(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for WriteError {}

/// The report as one page of HTML, with everything it needs inside.
#[must_use]
pub fn html(report: &Report) -> String {
    let sections = sections(report);
    let groups: Vec<Group<'_>> = Group::all(report);
    page::page(report, &sections, &answers::answers(report, &groups))
}

/// What the report answers first, a question and a sentence each, as for a terminal.
#[must_use]
pub fn answers(report: &Report) -> Vec<(&'static str, String)> {
    let answers = self::answers::answers(report, &Group::all(report));
    answers.into_iter().map(|answer| (answer.question, format!("{}. {}", answer.short, answer.sentence))).collect()
}

/// What each sweep says, a title and its sentences each, as for a terminal.
#[must_use]
pub fn findings(report: &Report) -> Vec<(String, Vec<String>)> {
    Group::all(report).iter().map(|group| (group.title(), verdict::sentences(report, group))).collect()
}

/// Writes [`FILE`] and [`CHARTS`] into the folder and returns the page's path; what is there by these names is replaced.
///
/// # Errors
/// [`WriteError`] for the first file that could not be written.
pub fn write(report: &Report, folder: &Path) -> Result<PathBuf, WriteError> {
    let charts = folder.join(CHARTS);
    fs::create_dir_all(&charts).map_err(|error| WriteError::Io(charts.clone(), error))?;
    let pictures = Pictures::new();
    for section in sections(report) {
        for figure in &section.figures {
            let path = charts.join(format!("{}-{}.svg", section.group.name, figure.kind));
            put(&path, figure.chart.svg(Setting::File).as_bytes())?;
            let path = path.with_extension("png");
            let png = pictures.png(&figure.chart).map_err(|error| WriteError::Picture(path.clone(), error))?;
            put(&path, &png)?;
        }
    }
    let path = folder.join(FILE);
    put(&path, html(report).as_bytes())?;
    Ok(path)
}

fn put(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    fs::write(path, content).map_err(|error| WriteError::Io(path.to_owned(), error))
}

fn sections(report: &Report) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    for group in Group::all(report) {
        let figures = match group.is_sweep() {
            true => figures::of_sweep(report, &group),
            false => figures::of_run(report, &group),
        };
        sections.push(Section { group, figures });
    }
    sections
}
