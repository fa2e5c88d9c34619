//! A flame graph, from the top down.

use std::collections::BTreeMap;

use super::Stacks;
use crate::chart::escaped;

#[derive(Default)]
struct Node<'a> {
    count: u64,
    below: BTreeMap<&'a str, Self>,
}

impl Node<'_> {
    /// Rows of boxes, those too narrow to be seen left out.
    fn depth(&self, least: u64) -> usize {
        let below = self.below.values().filter(|node| node.count >= least).map(|node| node.depth(least));
        1 + below.max().unwrap_or(0)
    }
}

pub(super) fn svg(stacks: &Stacks, title: &str, unit: &str) -> String {
    let mut root = Node::default();
    for (stack, count) in &stacks.counts {
        root.count += count;
        let mut node = &mut root;
        for name in stack {
            node = node.below.entry(name).or_default();
            node.count += count;
        }
    }
    let total = root.count.max(1);
    let least = (total as f64 * NARROW / WIDTH).ceil() as u64;
    let height = TOP + root.depth(least) as f64 * ROW + 8.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\"><title>{0}</title><style>text{{font:11px ui-monospace,'DejaVu Sans Mono',monospace;fill:#24221e}}\
         .head{{font:600 15px system-ui,'DejaVu Sans',sans-serif}}.note{{font:12px system-ui,'DejaVu Sans',sans-serif;\
         fill:#67635a}}rect{{stroke:#fffefc;stroke-width:.6}}rect:hover{{stroke:#24221e}}.ours{{fill:#8fcdb8}}.lab{{fill:#f0c987}}\
         .core{{fill:#c9d8e8}}.rest{{fill:#dedad0}}</style><rect width=\"100%\" height=\"100%\" fill=\"#fffefc\"/>\
         <text class=\"head\" x=\"8\" y=\"20\">{0}</text><text class=\"note\" x=\"8\" y=\"38\">{total} {1}; what is below is \
         called by what is above. Green: roomcast, yellow: its lab, blue: std and tokio.</text>",
        escaped(title),
        escaped(unit),
    );
    draw(&root, "all", 0.0, 0, &Scale { total, least, unit }, &mut text);
    text.push_str("</svg>\n");
    text
}

struct Scale<'a> {
    total: u64,
    least: u64,
    unit: &'a str,
}

fn draw(node: &Node<'_>, name: &str, left: f64, row: usize, scale: &Scale<'_>, text: &mut String) {
    let wide = node.count as f64 / scale.total as f64 * WIDTH;
    let top = TOP + row as f64 * ROW;
    let share = node.count as f64 / scale.total as f64 * 100.0;
    text.push_str(&format!(
        "<g><title>{} ({share:.1} %, {} {})</title><rect class=\"{}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" \
         height=\"{:.1}\" rx=\"1.5\"/>",
        escaped(name),
        node.count,
        escaped(scale.unit),
        kind(name),
        ROW - 1.0
    ));
    let letters = ((wide - 6.0) / LETTER) as usize;
    if letters >= 4 {
        let label = shortened(name, letters);
        text.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", left + 3.0, top + 12.0, escaped(&label)));
    }
    text.push_str("</g>");
    let mut x = left;
    for (name, below) in &node.below {
        if below.count >= scale.least {
            draw(below, name, x, row + 1, scale, text);
        }
        x += below.count as f64 / scale.total as f64 * WIDTH;
    }
}

fn kind(name: &str) -> &'static str {
    // `<roomcast::x as core::y>::z` is ours, `<core::x as roomcast::y>::z` is too.
    let is_in = |name: &str, part: &str| name.contains(part);
    if is_in(name, "roomcast_lab") {
        "lab"
    } else if is_in(name, "roomcast") {
        "ours"
    } else if ["std::", "core::", "alloc::", "tokio::"].iter().any(|part| is_in(name, part)) {
        "core"
    } else {
        "rest"
    }
}

/// The end of a path says more than its beginning.
fn shortened(name: &str, letters: usize) -> String {
    let count = name.chars().count();
    if count <= letters {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(count - (letters - 1)).collect();
    format!("…{tail}")
}

const WIDTH: f64 = 1_200.0;
const TOP: f64 = 50.0;
const ROW: f64 = 17.0;
const LETTER: f64 = 6.7;
/// A box that is narrower cannot be seen.
const NARROW: f64 = 0.6;
