//! Colours and letters of charts.

/// Where a chart is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// Inside a page whose sheet holds [`report`] and the colours.
    Page,
    /// In a file of its own: it brings its colours, light and dark.
    File,
    /// In a picture: light, whoever looks.
    Picture,
}

/// Colours: of paper, letters, faint letters, lines of the grid, and eight lines that people who see fewer colours can tell
/// apart.
struct Palette {
    paper: &'static str,
    ink: &'static str,
    faint: &'static str,
    grid: &'static str,
    lines: [&'static str; LINES],
}

/// Lines with a colour of their own; after them colours come again with other marks.
pub(super) const LINES: usize = 8;

const LIGHT: Palette = Palette {
    paper: "#fffefc",
    ink: "#24221e",
    faint: "#67635a",
    grid: "#e4e0d7",
    lines: ["#0b6aa8", "#c8500a", "#0a8a63", "#a8518a", "#a87400", "#4b4f9e", "#5c5f63", "#8a3b2c"],
};

const DARK: Palette = Palette {
    paper: "#191c1e",
    ink: "#e9e6df",
    faint: "#a3a097",
    grid: "#2f3437",
    lines: ["#5eb0ea", "#f58a4b", "#3fc79b", "#e297c6", "#e3b341", "#9aa0f0", "#a9adb3", "#e08a78"],
};

/// The variables of a page's sheet that charts are coloured by, for light or dark.
#[must_use]
pub fn variables(is_dark: bool) -> String {
    let palette = if is_dark { &DARK } else { &LIGHT };
    let mut text =
        format!("--chart-paper:{};--chart-faint:{};--chart-grid:{};", palette.paper, palette.faint, palette.grid);
    text.push_str(&format!("--chart-ink:{};", palette.ink));
    for (index, colour) in palette.lines.iter().enumerate() {
        text.push_str(&format!("--line-{index}:{colour};"));
    }
    text
}

/// The rules a page needs for the charts inside it, coloured by [`variables`].
#[must_use]
pub fn report() -> String {
    rules(".chart ", |name| format!("var(--{name})"))
}

/// The sheet inside a chart's own file; empty for a page.
pub(super) fn own_sheet(setting: Setting) -> String {
    let literal = |palette: &'static Palette| {
        rules("", |name| {
            let line = name.strip_prefix("line-").and_then(|index| index.parse::<usize>().ok());
            let colour = match name {
                "chart-paper" => palette.paper,
                "chart-ink" => palette.ink,
                "chart-faint" => palette.faint,
                _ => palette.grid,
            };
            line.map_or(colour, |index| palette.lines[index]).to_owned()
        })
    };
    match setting {
        Setting::Page => String::new(),
        Setting::Picture => format!("<style>{}</style>", literal(&LIGHT)),
        Setting::File => {
            format!("<style>{}@media (prefers-color-scheme:dark){{{}}}</style>", literal(&LIGHT), literal(&DARK))
        }
    }
}

fn rules(scope: &str, colour: impl Fn(&str) -> String) -> String {
    let mut text = format!(
        "{scope}text{{font-family:{FONTS};font-size:12.5px;fill:{ink}}}\
         {scope}.head{{font-size:14.5px;font-weight:600}}\
         {scope}.note{{fill:{faint};font-size:12px}}\
         {scope}.paper{{fill:{paper}}}\
         {scope}.grid{{stroke:{grid};stroke-width:1;fill:none}}\
         {scope}.base{{stroke:{faint};stroke-width:1;fill:none}}\
         {scope}.mark{{stroke:{faint};stroke-width:1.2;stroke-dasharray:2 3;fill:none}}\
         {scope}.ideal{{stroke:{faint};stroke-width:1.6;stroke-dasharray:6 4;fill:none}}\
         {scope}.line{{stroke-width:2.2;fill:none;stroke-linejoin:round;stroke-linecap:round}}\
         {scope}.thin{{stroke-width:1.5}}\
         {scope}.band{{stroke:none;fill-opacity:.16}}\
         {scope}.dot{{stroke-width:1.4}}",
        ink = colour("chart-ink"),
        faint = colour("chart-faint"),
        paper = colour("chart-paper"),
        grid = colour("chart-grid"),
    );
    for index in 0..LINES {
        let line = colour(&format!("line-{index}"));
        text.push_str(&format!("{scope}.s{index}{{stroke:{line}}}{scope}.f{index}{{fill:{line}}}"));
    }
    text
}

/// What the reader's system has for its own pages.
const FONTS: &str = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif";
