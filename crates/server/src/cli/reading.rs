//! `roomcast lab report` and `lab compare`: results that are there, read again.

use std::path::Path;

use roomcast_lab::result::Report;
use roomcast_lab::{compare, report};

/// Writes the page and the charts of a result again, and says what they answer.
pub(super) fn report(folder: &Path) -> Result<(), String> {
    let results = read(folder)?;
    let folder = if folder.is_dir() { folder } else { folder.parent().unwrap_or(folder) };
    let page = report::write(&results, folder).map_err(|error| error.to_string())?;
    for (question, answer) in report::answers(&results) {
        super::try_print(format_args!("{question}\n  {answer}\n"))?;
    }
    super::try_print(format_args!("{}\n", page.display()))?;
    Ok(())
}

/// Prints the second result beside the first, and writes it as a page where one is asked for.
pub(super) fn compare(before: &Path, after: &Path, page: Option<&Path>) -> Result<(), String> {
    let comparison = compare::compare(&read(before)?, &read(after)?);
    super::try_print(comparison.text())?;
    let Some(page) = page else { return Ok(()) };
    std::fs::write(page, comparison.html()).map_err(|error| format!("{} cannot be written: {error}", page.display()))
}

fn read(folder: &Path) -> Result<Report, String> {
    Report::read(folder).map_err(|error| error.to_string())
}
