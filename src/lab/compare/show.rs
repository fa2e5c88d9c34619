//! A comparison as text for a terminal, and as a page.

use super::{Comparison, Pair, Row, Verdict};
use crate::lab::chart::escaped;
use crate::lab::report::page;

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
            (0, 0, rest) => format!("All {rest} figures are within noise, or were measured once only."),
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
            "</main><footer><p>Ratios are after over before, of medians; the margin holds at 95 %, from the spread of the \
             repeats. Clear is what lies half as far again outside of it.</p></footer>",
        );
        page::document("Before and after", &body)
    }
}

fn section(pair: &Pair) -> String {
    let mut rows = String::new();
    for row in &pair.rows {
        let [measure, label, before, after, ratio, word] = cells(row);
        let tone = match row.verdict {
            Verdict::Better => " good",
            Verdict::Worse => " bad",
            Verdict::WithinNoise | Verdict::Unknown => "",
        };
        let word = format!("<span class=\"tag{tone}\">{word}</span>");
        rows.push_str(&format!(
            "<tr><td>{measure}</td><td>{}</td><td>{before}</td><td>{after}</td><td>{ratio}</td><td class=\"text\">{word}</td></tr>",
            escaped(&label)
        ));
    }
    format!(
        "<section class=\"card\"><h2>{}</h2><div class=\"scroller\" tabindex=\"0\"><table><thead><tr><th>measure</th><th>{}</th>\
         <th>before</th><th>after</th><th>ratio</th><th class=\"text\">verdict</th></tr></thead><tbody>{rows}</tbody></table></div>\
         </section>",
        escaped(&pair.name),
        escaped(named(pair))
    )
}

fn named(pair: &Pair) -> &str {
    if pair.counted.is_empty() { "run" } else { &pair.counted }
}

fn cells(row: &Row) -> [String; 6] {
    let unit = row.measure.unit();
    let ratio = match row.verdict {
        Verdict::Unknown => format!("{:.2}x", row.ratio),
        _ => format!("{:.2}x ± {:.2}", row.ratio, row.margin),
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
