//! A comparison as text for a terminal, and as a page.

use super::charts::charts;
use super::{Comparison, Pair, Row, Verdict};
use crate::chart::escaped;
use crate::report::page;

impl Comparison {
    /// The comparison as lines of text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("before: {}\nafter:  {}\n", self.before, self.after);
        for warning in &self.warnings {
            text.push_str(&format!("note: {warning}\n"));
        }
        for pair in self.pairs.iter().filter(|pair| !pair.rows.is_empty()) {
            text.push_str(&format!("\n{} (by {})\n", pair.name, named(pair)));
            let cells: Vec<[String; 6]> = pair.rows.iter().map(cells).collect();
            let head = ["", named(pair), "before", "after", "ratio", ""].map(str::to_owned);
            let wide =
                |column: usize| cells.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
            let widths: Vec<usize> = (0..6).map(wide).collect();
            for row in [&head].into_iter().chain(&cells) {
                let mut line = format!("{:<1$}", row[0], widths[0]);
                for column in 1..5 {
                    line.push_str(&format!("  {:>1$}", row[column], widths[column]));
                }
                line.push_str(&format!("  {}", row[5]));
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text.push_str(&format!("\n{}\n", self.summary()));
        text
    }

    /// One sentence: how much is better, how much worse.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.counts() {
            (0, 0, 0) => "The two have nothing in common to compare.".to_owned(),
            (0, 0, 1) => "The only figure is within noise, or was measured once only.".to_owned(),
            (0, 0, rest) => format!("All {rest} figures are within noise, or were measured once only."),
            (1, worse, rest) => {
                format!("1 figure is clearly better, {worse} clearly worse, {rest} within noise or measured once.")
            }
            (better, worse, rest) => {
                format!(
                    "{better} figures are clearly better, {worse} clearly worse, {rest} within noise or measured once."
                )
            }
        }
    }

    /// The comparison as one page of HTML, with everything it needs inside.
    #[must_use]
    pub fn html(&self) -> String {
        let mut body = format!(
            "<header class=\"top\"><p class=\"kind\">roomcast lab</p><h1>Before and after</h1><p class=\"about\">{}</p>\
             <dl class=\"facts\"><div><dt>Before</dt><dd><code>{}</code></dd></div>\
             <div><dt>After</dt><dd><code>{}</code></dd></div></dl></header><main>",
            escaped(&self.summary()),
            escaped(&self.before),
            escaped(&self.after)
        );
        for warning in &self.warnings {
            body.push_str(&format!("<p class=\"warning\">{}</p>", escaped(warning)));
        }
        self.pairs.iter().filter(|pair| !pair.rows.is_empty()).for_each(|pair| body.push_str(&section(pair)));
        body.push_str(
            "</main><footer><p>Ratios are after over before, of medians. Behind each stands from where to where it may lie, by \
             the spread of the repeats: at 95 %, and half as far again since many are compared. Clear is a ratio whose range \
             leaves out 1.</p></footer>",
        );
        page::document("Before and after", &body)
    }
}

fn section(pair: &Pair) -> String {
    let mut rows = String::new();
    let head = escaped(named(pair));
    for row in &pair.rows {
        let [measure, label, before, after, ratio, word] = cells(row);
        let tone = match row.verdict {
            Verdict::Better => " good",
            Verdict::Worse => " bad",
            Verdict::WithinNoise | Verdict::Unknown => "",
        };
        let word = format!("<span class=\"tag{tone}\">{word}</span>");
        rows.push_str(&format!(
            "<tr><td>{measure}</td><td data-head=\"{head}\">{}</td><td class=\"text verdict\">{word}</td>\
             <td data-head=\"before\">{before}</td><td data-head=\"after\">{after}</td><td data-head=\"ratio\">{ratio}</td></tr>",
            escaped(&label)
        ));
    }
    format!(
        "<section class=\"card compared\"><h2>{}</h2>{}<table class=\"stacked\"><thead><tr><th>measure</th><th>{head}</th>\
         <th class=\"text\">verdict</th><th>before</th><th>after</th><th>ratio</th></tr></thead><tbody>{rows}</tbody></table>\
         </section>",
        escaped(&pair.name),
        charts(pair)
    )
}

fn named(pair: &Pair) -> &str {
    if pair.counted.is_empty() { "run" } else { &pair.counted }
}

fn cells(row: &Row) -> [String; 6] {
    let unit = row.measure.unit();
    let ratio = match row.interval {
        None => format!("{:.2}x", row.ratio),
        Some((low, high)) => format!("{:.2}x ({low:.2} to {high:.2})", row.ratio),
    };
    let word = match row.verdict {
        Verdict::Better => "better, clear",
        Verdict::Worse => "worse, clear",
        Verdict::WithinNoise => "within noise",
        Verdict::Unknown => "measured once",
    };
    [
        row.measure.name().to_owned(),
        row.label.clone(),
        unit.text(row.before),
        unit.text(row.after),
        ratio,
        word.to_owned(),
    ]
}
