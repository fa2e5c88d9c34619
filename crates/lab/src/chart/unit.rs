//! Numbers as people read them: `1.2 µs`, `64 KiB`, `3.4 M`, `87 %`.

/// What a number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Things: `950`, `12 k`, `3.4 M`.
    #[default]
    Count,
    /// Times in nanoseconds: `15 ns`, `1.2 µs`, `3 ms`.
    Nanoseconds,
    /// Times in seconds: `12 s`.
    Seconds,
    /// Memory: `128 B`, `64 KiB`.
    Bytes,
    /// A share of one: `87 %`.
    Share,
}

impl Unit {
    /// The number with three digits at most, and its unit.
    ///
    /// ```
    /// use roomcast_lab::chart::Unit;
    ///
    /// assert_eq!(Unit::Nanoseconds.text(1_234.0), "1.23 µs");
    /// assert_eq!(Unit::Bytes.text(65_536.0), "64 KiB");
    /// assert_eq!(Unit::Count.text(3_400_000.0), "3.4 M");
    /// assert_eq!(Unit::Share.text(0.874), "87.4 %");
    /// ```
    #[must_use]
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Count => scaled(value, &[(1e9, " G"), (1e6, " M"), (1e3, " k")], ""),
            Self::Nanoseconds => scaled(value, &[(1e9, " s"), (1e6, " ms"), (1e3, " µs")], " ns"),
            Self::Seconds => match value.abs() {
                seconds if seconds >= 1.0 || seconds == 0.0 => format!("{} s", digits(value)),
                _ => Self::Nanoseconds.text(value * 1e9),
            },
            Self::Bytes => {
                let steps = [(1_073_741_824.0, " GiB"), (1_048_576.0, " MiB"), (1_024.0, " KiB")];
                scaled(value, &steps, " B")
            }
            Self::Share => format!("{} %", digits(value * 100.0)),
        }
    }
}

fn scaled(value: f64, steps: &[(f64, &str)], smallest: &str) -> String {
    // What would be rounded to a thousand of the smaller unit is one of the larger.
    let step = steps.iter().find(|(size, _)| value.abs() >= size * 0.9995);
    let (size, name) = step.copied().unwrap_or((1.0, smallest));
    format!("{}{name}", digits(value / size))
}

/// Three digits, without zeros at the end of a fraction.
fn digits(value: f64) -> String {
    let text = match value.abs() {
        magnitude if magnitude >= 99.95 => format!("{value:.0}"),
        magnitude if magnitude >= 9.995 => format!("{value:.1}"),
        magnitude if magnitude >= 0.0995 || magnitude == 0.0 => format!("{value:.2}"),
        magnitude if magnitude >= 0.0005 => format!("{value:.4}"),
        _ => return format!("{value:.1e}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
