use super::scale::Scale;
use super::{Axis, Chart, Division, Line, Pictures, Setting, Spot, Unit};

fn chart() -> Chart {
    let spots = |factor: f64| {
        (0..6).map(|power| 10f64.powi(power)).map(move |x| Spot {
            x,
            y: x * factor,
            low: x * factor * 0.9,
            high: x * factor * 1.1,
        })
    };
    Chart {
        title: "Deliveries & <rates>".to_owned(),
        description: "It rises".to_owned(),
        x: Axis { label: "subscribers".to_owned(), division: Division::Logarithmic, ..Axis::default() },
        y: Axis { label: "a second".to_owned(), division: Division::Logarithmic, ..Axis::default() },
        lines: vec![
            Line { name: "one \"quoted\"".to_owned(), spots: spots(3.0).collect(), is_ideal: false },
            Line { name: "ideal".to_owned(), spots: spots(4.0).collect(), is_ideal: true },
        ],
        marks: vec![(1_000.0, "knee".to_owned())],
    }
}

#[test]
fn numbers_have_three_digits_and_a_unit() {
    let cases = [
        (Unit::Count, 0.0, "0"),
        (Unit::Count, 999.6, "1 k"),
        (Unit::Count, 12_345.0, "12.3 k"),
        (Unit::Count, 0.25, "0.25"),
        (Unit::Nanoseconds, 0.95, "0.95 ns"),
        (Unit::Nanoseconds, 1e9, "1 s"),
        (Unit::Seconds, 0.25, "250 ms"),
        (Unit::Bytes, 1_536.0, "1.5 KiB"),
        (Unit::Bytes, 900.0, "900 B"),
        (Unit::Share, 1.0, "100 %"),
    ];
    for (unit, value, text) in cases {
        assert_eq!(unit.text(value), text);
    }
}

#[test]
fn ticks_stand_at_round_numbers_inside_the_axis() {
    for (low, high, division) in [
        (0.0, 7.3, Division::Linear),
        (0.0, 1.9e6, Division::Linear),
        (1.0, 10_000.0, Division::Logarithmic),
        (3.0, 41.0, Division::Logarithmic),
        (1e-3, 1e9, Division::Logarithmic),
    ] {
        let scale = Scale::around([low, high].into_iter(), &division, Unit::Count, false);
        let ticks = scale.ticks(6);
        assert!((2..=9).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
        for (value, label) in &ticks {
            let place = scale.place(*value).expect("a place");
            assert!((-1e-6..=1.000_001).contains(&place), "{label} lies at {place}");
        }
        let place = scale.place(high).expect("a place");
        assert!(place <= 1.0 && place > 0.5, "{high} lies at {place} of {ticks:?}");
    }
}

#[test]
fn an_axis_holds_everything_it_is_around() {
    for tenths in 1..=2_000 {
        let high = f64::from(tenths) / 10.0 * 1.004;
        for division in [Division::Linear, Division::Logarithmic] {
            let scale = Scale::around([high / 30.0, high].into_iter(), &division, Unit::Count, false);
            let place = scale.place(high).expect("a place");
            assert!(place <= 1.000_001, "{high} lies at {place} of {scale:?}");
        }
    }
}

/// The numbers of the path with that class.
fn path(svg: &str, class: &str) -> Vec<f64> {
    let path = svg.split(&format!("class=\"{class}\" d=\"")).nth(1).and_then(|rest| rest.split('"').next());
    let numbers = path.unwrap_or_else(|| panic!("no {class}")).split(|letter: char| !"-.0123456789".contains(letter));
    numbers.filter(|number| !number.is_empty()).map(|number| number.parse().expect("a number")).collect()
}

#[test]
fn the_line_lies_inside_its_band() {
    for division in [Division::Linear, Division::Logarithmic] {
        // The largest is a little more than a round number, the smallest is nothing at all.
        let spots = |high: f64| vec![Spot { x: 1.0, y: 5.0, low: 0.0, high }, Spot { x: 2.0, y: 9.9, low: 8.0, high }];
        let chart = Chart {
            y: Axis { division: division.clone(), ..Axis::default() },
            lines: vec![Line { name: "one".to_owned(), spots: spots(10.04), is_ideal: false }],
            ..Chart::default()
        };
        let svg = chart.svg(Setting::Page);
        let (band, line) = (path(&svg, "band f0"), path(&svg, "line s0"));
        assert_eq!(band.len(), 8, "{division:?}: two edges of two points, not {band:?}");
        for (point, (upper, lower)) in [(1, (1, 7)), (3, (3, 5))] {
            assert!(band[upper] <= line[point] && line[point] <= band[lower], "{division:?}: {line:?} in {band:?}");
        }
    }
}

#[test]
fn memory_is_divided_by_powers_of_two() {
    let scale = Scale::around([16.0, 65_536.0].into_iter(), &Division::Logarithmic, Unit::Bytes, true);
    let labels: Vec<_> = scale.ticks(7).into_iter().map(|(_, label)| label).collect();
    assert!(labels.contains(&"1 KiB".to_owned()) && labels.contains(&"64 KiB".to_owned()), "{labels:?}");
}

#[test]
fn a_chart_is_well_formed_and_says_what_it_shows() {
    for setting in [Setting::Page, Setting::File, Setting::Picture] {
        let svg = chart().svg(setting);
        let tree = resvg::usvg::roxmltree::Document::parse(&svg).expect("XML");
        let root = tree.root_element();
        assert_eq!(root.attribute("role"), Some("img"));
        let title = root.children().find(|node| node.has_tag_name("title")).and_then(|node| node.text());
        assert_eq!(title, Some("Deliveries & <rates>"));
        assert!(root.children().any(|node| node.has_tag_name("desc")));
        let of_class = |class: &str| root.descendants().filter(|node| node.attribute("class") == Some(class)).count();
        assert_eq!(of_class("mark"), 1, "the knee");
        assert_eq!(of_class("ideal"), 2, "the ideal line and its key");
        assert_eq!(of_class("dot f0 s0"), 7, "six points and the key");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[test]
fn only_a_file_brings_its_colours() {
    assert!(!chart().svg(Setting::Page).contains("<style>"));
    assert!(chart().svg(Setting::File).contains("prefers-color-scheme:dark"));
    assert!(!chart().svg(Setting::Picture).contains("@media"));
}

#[test]
fn values_that_have_no_place_are_left_out() {
    let mut chart = chart();
    chart.lines[0].spots[0] = Spot::at(0.0, 0.0);
    chart.lines[0].spots[1] = Spot::at(f64::NAN, f64::INFINITY);
    let svg = chart.svg(Setting::Page);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let empty = Chart { lines: Vec::new(), ..chart };
    assert!(empty.svg(Setting::Page).ends_with("</svg>"));
}

#[test]
fn named_places_have_bars() {
    let names = Division::Names(vec!["ref".to_owned(), "clone".to_owned()]);
    let spots = vec![Spot { x: 0.0, y: 3.0, low: 2.0, high: 4.0 }, Spot::at(1.0, 9.0)];
    let chart = Chart {
        x: Axis { division: names, ..Axis::default() },
        lines: vec![Line { name: "ns".to_owned(), spots, is_ideal: false }],
        ..Chart::default()
    };
    let svg = chart.svg(Setting::Page);
    assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
    assert!(svg.contains(">clone</text>"), "{svg}");
}

#[test]
fn a_picture_is_a_png_of_twice_the_size() {
    let pictures = Pictures::new();
    let png = pictures.png(&chart()).expect("a picture");
    assert_eq!(png[..8], [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n']);
    assert_eq!(u32::from_be_bytes([png[16], png[17], png[18], png[19]]), 780);
}
