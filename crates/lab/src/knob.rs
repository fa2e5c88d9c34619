//! The knobs: what can be turned, how far, and where that means something.

use super::result::Target;

/// One thing that can be turned: a key of `[load]` in a scenario, and a name for `--knob`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Knob {
    /// As it is written.
    pub name: &'static str,
    /// What its values count; empty where they are names.
    pub unit: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it can be turned on.
    pub on: &'static [Target],
}

/// The values of a [`Knob`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Takes {
    /// Whole numbers, these included.
    Whole(u64, u64),
    /// Numbers, these included.
    Number(f64, f64),
    /// One of these words.
    Word(&'static [&'static str]),
}

const BOTH: &[Target] = &[Target::Library, Target::Network];
const LIBRARY: &[Target] = &[Target::Library];
const NETWORK: &[Target] = &[Target::Network];

const fn knob(
    name: &'static str,
    unit: &'static str,
    takes: Takes,
    on: &'static [Target],
    about: &'static str,
) -> Knob {
    Knob { name, unit, about, takes, on }
}

/// All of them.
pub const KNOBS: &[Knob] = &[
    knob("brokers", "brokers", Takes::Whole(1, 1_000), LIBRARY, "brokers in the process, each with its own rooms"),
    knob("rooms", "rooms", Takes::Whole(1, 1_000_000), BOTH, "rooms of each broker"),
    knob("subscribers", "subscribers a room", Takes::Whole(0, 1_000_000), BOTH, "subscribers that stay in each room"),
    knob("publishers", "publishers", Takes::Whole(1, 10_000), BOTH, "publishers in all, spread over the rooms"),
    knob("concurrent", "publishers at a time", Takes::Whole(1, 256), BOTH, "publishers that publish at the same time"),
    knob(
        "messages",
        "messages in a row",
        Takes::Whole(1, 1_000_000),
        BOTH,
        "messages published before looking whether they arrived; if not said 32, or 1 where drive is open",
    ),
    knob("size", "bytes", Takes::Whole(0, 1_048_576), BOTH, "bytes of a message"),
    knob(
        "rate",
        "messages/s",
        Takes::Number(0.1, 1e8),
        BOTH,
        "messages a second of all publishers, where drive is open",
    ),
    knob("churners", "churners", Takes::Whole(0, 10_000), BOTH, "subscribers that come and go"),
    knob(
        "churn_rate",
        "joins/s",
        Takes::Number(0.0, 1e8),
        BOTH,
        "times a second one of them leaves and joins; 0: no pause",
    ),
    knob("capacity", "messages kept", Takes::Whole(1, 1_000_000), BOTH, "messages a room retains"),
    knob("shards", "shards", Takes::Whole(0, 1_024), BOTH, "shard executors; 0: one a core"),
    knob(
        "read",
        "",
        Takes::Word(&["ref", "clone", "arc"]),
        LIBRARY,
        "how a message is taken: lent, copied, or by pointer",
    ),
    knob("wait", "", Takes::Word(&["spin", "blocking", "park", "handler"]), LIBRARY, "how a subscriber waits"),
    knob("policy", "", Takes::Word(&["lag", "latest", "block"]), LIBRARY, "what happens to one that falls behind"),
    knob("slow", "share", Takes::Number(0.0, 1.0), BOTH, "share of the subscribers that read slowly"),
    knob("slow_ms", "ms", Takes::Whole(1, 10_000), BOTH, "how long those wait between two reads"),
    knob("hot", "share", Takes::Number(0.0, 1.0), BOTH, "share of the messages that go into the first room"),
    knob(
        "storms",
        "storms",
        Takes::Whole(0, 100),
        NETWORK,
        "times in a run that connections break together and come back",
    ),
    knob("storm_share", "share", Takes::Number(0.0, 1.0), NETWORK, "share of the connections that do"),
    knob("encoding", "", Takes::Word(&["json", "protobuf"]), NETWORK, "what is spoken"),
    knob("storage", "", Takes::Word(&["off", "async", "stored"]), NETWORK, "how the server keeps what is published"),
    knob("threads", "threads", Takes::Whole(0, 256), BOTH, "threads of the lab that read; 0: as many as make sense"),
];

/// The nearest of `names` to one that there is not, where it is near enough to have been meant.
pub(super) fn meant<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, nearest) = names.map(|known| (strsim::damerau_levenshtein(known, name), known)).min()?;
    // Of a short name three letters would be most of it.
    (distance <= (name.len() / 2).min(3)).then_some(nearest)
}

/// The knob of that name.
///
/// # Errors
/// What a person should be told when there is none, with the nearest name there is.
pub fn find(name: &str) -> Result<&'static Knob, String> {
    if let Some(knob) = KNOBS.iter().find(|knob| knob.name == name) {
        return Ok(knob);
    }
    if let Some(nearest) = meant(name, KNOBS.iter().map(|knob| knob.name)) {
        return Err(format!("there is no knob {name:?}; did you mean {nearest}?"));
    }
    let names: Vec<_> = KNOBS.iter().map(|knob| knob.name).collect();
    Err(format!("there is no knob {name:?}; the knobs are {}", names.join(", ")))
}

impl Knob {
    /// Whether it can be turned there.
    #[must_use]
    pub fn is_on(&self, target: Target) -> bool {
        self.on.contains(&target)
    }

    /// Whether its values are numbers.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        !matches!(self.takes, Takes::Word(_))
    }

    /// One value, as TOML.
    ///
    /// # Errors
    /// What a person should be told when it is none.
    pub fn value(&self, text: &str) -> Result<toml::Value, String> {
        let wrong = || format!("{:?} is no value for {}: it takes {}", text, self.name, self.domain());
        match self.takes {
            Takes::Whole(least, most) => {
                let value = number(text).filter(|value| value.fract() == 0.0).ok_or_else(wrong)?;
                if value < least as f64 || value > most as f64 {
                    return Err(wrong());
                }
                Ok(toml::Value::Integer(value as i64))
            }
            Takes::Number(least, most) => {
                let value = number(text).filter(|value| (least..=most).contains(value)).ok_or_else(wrong)?;
                Ok(toml::Value::Float(value))
            }
            Takes::Word(words) => {
                let word = words.iter().find(|word| **word == text).ok_or_else(wrong)?;
                Ok(toml::Value::String((*word).to_owned()))
            }
        }
    }

    /// What it takes, in words.
    #[must_use]
    pub fn domain(&self) -> String {
        match self.takes {
            Takes::Whole(least, most) => format!("{least} to {most}"),
            Takes::Number(least, most) => format!("{least} to {most}, with decimals"),
            Takes::Word(words) => words.join(", "),
        }
    }

    /// Many values: `1,2,4`, or `1..1000`, which is seven points or as many as `1..1000/5` says, spread evenly over the
    /// powers between.
    ///
    /// # Errors
    /// What a person should be told when they are none.
    pub fn values(&self, text: &str) -> Result<Vec<String>, String> {
        let Some((first, rest)) = text.split_once("..") else {
            let values: Vec<_> = text.split(',').map(|value| value.trim().to_owned()).collect();
            for value in &values {
                self.value(value)?;
            }
            return Ok(values);
        };
        if !self.is_numeric() {
            return Err(format!("{} has no order, name its values: {}", self.name, self.domain()));
        }
        let (last, points) = match rest.split_once('/') {
            Some((last, points)) => {
                let points = points.parse().ok().filter(|points| (2..=POINTS_MAX).contains(points));
                (
                    last,
                    points
                        .ok_or_else(|| format!("{text:?} asks for a number of points that is not 2 to {POINTS_MAX}"))?,
                )
            }
            None => (rest, POINTS_DEFAULT),
        };
        self.value(first)?;
        self.value(last)?;
        let ends = number(first).zip(number(last)).filter(|(first, last)| 0.0 < *first && first < last);
        let (first, last) = ends.ok_or_else(|| {
            format!("{text:?} is no range for {}: write it from a value above 0 to a larger one, 1..1000", self.name)
        })?;
        let mut values: Vec<String> = Vec::with_capacity(points);
        for step in 0..points {
            let value = first * (last / first).powf(step as f64 / (points - 1) as f64);
            let value = if matches!(self.takes, Takes::Whole(..)) { value.round() } else { round3(value) };
            let value = value.to_string();
            if values.last() != Some(&value) {
                values.push(value);
            }
        }
        Ok(values)
    }
}

/// To three digits, so that a label is readable.
fn round3(value: f64) -> f64 {
    let scale = 10_f64.powf(2.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

/// A number, perhaps with underscores or `k` or `M` behind it.
fn number(text: &str) -> Option<f64> {
    let text = text.trim().replace('_', "");
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1e3),
        None => match text.strip_suffix('M') {
            Some(digits) => (digits, 1e6),
            None => (&*text, 1.0),
        },
    };
    digits.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| value * factor)
}

/// Points of a range that does not say.
const POINTS_DEFAULT: usize = 7;
/// More points than a chart can show, so probably a typing error.
const POINTS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_spread_over_the_powers() {
        let knob = find("subscribers").expect("a knob");
        assert_eq!(knob.values("1..10000/5").expect("a range"), ["1", "10", "100", "1000", "10000"]);
        assert_eq!(knob.values("1..1k").expect("a range").len(), 7);
        assert_eq!(knob.values("1..3/9").expect("a range"), ["1", "2", "3"]);
        assert_eq!(knob.values("5, 7").expect("a list"), ["5", "7"]);
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_would_be() {
        let knob = find("subscribers").expect("a knob");
        for text in ["", "ten", "1..", "..5", "0..5", "9..3", "1..10/1", "-1", "1.5", "99999999"] {
            assert!(knob.values(text).is_err(), "{text}");
        }
        let read = find("read").expect("a knob");
        assert!(read.values("ref..arc").expect_err("no order").contains("ref, clone, arc"));
        assert!(read.values("ref,move").expect_err("no value").contains("\"move\""));
        assert!(find("subscriber").expect_err("no knob").contains("did you mean subscribers?"));
    }
}
