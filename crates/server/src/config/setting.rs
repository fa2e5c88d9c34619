//! How a value of each kind is read from a tree and written back.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use super::expression;
use super::tree::Value;
use super::{DataFormat, Echo, LogFile, LogFormat, Overload, RecoveryMode, SlowConsumer, Storage};

/// A kind of value an option can have.
pub(super) trait Kind: Sized {
    /// What a person should write, to end the sentence "expected …".
    fn expected() -> Cow<'static, str>;

    /// The value, or nothing when it is of another kind.
    fn read(value: &Value) -> Option<Self>;

    /// The value in TOML, or nothing when there is none.
    fn write(&self) -> Option<String>;

    /// Whether a value that cannot be used is not to be shown.
    const IS_SECRET: bool = false;
}

/// Reads a value or says what was expected and what was found.
pub(super) fn read<K: Kind>(value: &Value) -> Result<K, String> {
    let found = || if K::IS_SECRET { "something else".to_owned() } else { value.describe() };
    K::read(value).ok_or_else(|| format!("expected {}, found {}", K::expected(), found()))
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text) => Some(text),
            _ => None,
        }
    }
}

/// Where to listen: an address of this machine, a port, or both.
pub(super) fn listen(text: &str) -> Result<(Option<IpAddr>, Option<u16>), String> {
    let address_of = |host: &str| match host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')) {
        Some(v6) => v6.parse().ok(),
        None if host.eq_ignore_ascii_case("localhost") => Some(IpAddr::from([127, 0, 0, 1])),
        None => host.parse().ok(),
    };
    let both = text.rsplit_once(':').and_then(|(host, port)| {
        let port = Some(port.parse().ok()?);
        if host.is_empty() { Some((None, port)) } else { Some((Some(address_of(host)?), port)) }
    });
    let port_of = |text: &str| Some((None, Some(text.parse().ok()?)));
    let alone = || address_of(text).map(|address| (Some(address), None)).or_else(|| port_of(text));
    // An address of IPv6 has colons of its own, and stands in brackets where a port follows.
    let found = if text.parse::<IpAddr>().is_ok() { alone() } else { both.or_else(alone) };
    found.ok_or_else(|| {
        format!(
            "expected an address of this machine, a port or both, such as \"127.0.0.1:8000\", \"localhost:8000\", \"0.0.0.0\" or \
             \"8000\", found {text:?}"
        )
    })
}

pub(super) fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

impl Kind for bool {
    fn expected() -> Cow<'static, str> {
        "true or false".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(truth) => Some(*truth),
            // As Go reads it, too.
            Value::Text(text) | Value::Plain(text) => match text.as_str() {
                "true" | "True" | "TRUE" | "t" | "T" | "1" => Some(true),
                "false" | "False" | "FALSE" | "f" | "F" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Kind for usize {
    fn expected() -> Cow<'static, str> {
        "a whole number such as 128".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => (*number).try_into().ok(),
            Value::Text(text) | Value::Plain(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Kind for u16 {
    fn expected() -> Cow<'static, str> {
        "a port from 0 to 65535".into()
    }

    fn read(value: &Value) -> Option<Self> {
        usize::read(value)?.try_into().ok()
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Kind for Option<NonZeroUsize> {
    fn expected() -> Cow<'static, str> {
        "a whole number from 1 up".into()
    }

    fn read(value: &Value) -> Option<Self> {
        Some(Some(NonZeroUsize::new(usize::read(value)?)?))
    }

    fn write(&self) -> Option<String> {
        self.map(|number| number.to_string())
    }
}

/// A duration as Go writes it, with parts that may have a fraction: `1.5h`, `1m0.5s`.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let (_, of_unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * of_unit;
        rest = after;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

/// The same, where `-1` turns off what has it.
pub(super) fn duration_or_off(value: &Value) -> Result<Duration, String> {
    let is_off = value.text() == Some("-1") || matches!(value, Value::Integer(-1));
    if is_off { Ok(Duration::ZERO) } else { read(value) }
}

impl Kind for Duration {
    fn expected() -> Cow<'static, str> {
        "a duration in quotes such as \"25s\", \"500ms\" or \"24h\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.text()?;
        humantime::parse_duration(text).ok().or_else(|| go_duration(text))
    }

    fn write(&self) -> Option<String> {
        Some(quote(&humantime::format_duration(*self).to_string()))
    }
}

impl Kind for String {
    fn expected() -> Cow<'static, str> {
        "text in quotes".into()
    }

    fn read(value: &Value) -> Option<Self> {
        value.text().map(str::to_owned)
    }

    fn write(&self) -> Option<String> {
        Some(quote(self))
    }
}

impl Kind for Option<String> {
    fn expected() -> Cow<'static, str> {
        "text in quotes".into()
    }

    fn read(value: &Value) -> Option<Self> {
        // An empty one is none.
        value.text().map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    fn write(&self) -> Option<String> {
        self.as_deref().map(quote)
    }
}

impl Kind for Vec<String> {
    fn expected() -> Cow<'static, str> {
        "a list of texts (in the environment: separated by commas or spaces, or a list in JSON)".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::List(items) => items.iter().map(|item| String::read(&item.value)).collect(),
            // No entry of a list begins like this, and what looks like JSON is meant as JSON.
            Value::Plain(text) if text.trim_start().starts_with('[') => serde_json::from_str(text).ok(),
            Value::Plain(text) => {
                let entries = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
                Some(entries.map(str::to_owned).collect())
            }
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        let list: Self = self.iter().map(|text| quote(text)).collect();
        Some(format!("[{}]", list.join(", ")))
    }
}

impl Kind for PathBuf {
    fn expected() -> Cow<'static, str> {
        "a path in quotes".into()
    }

    fn read(value: &Value) -> Option<Self> {
        value.text().filter(|text| !text.is_empty()).map(Self::from)
    }

    fn write(&self) -> Option<String> {
        Some(quote(&self.to_string_lossy()))
    }
}

impl Kind for Option<PathBuf> {
    fn expected() -> Cow<'static, str> {
        PathBuf::expected()
    }

    fn read(value: &Value) -> Option<Self> {
        PathBuf::read(value).map(Some)
    }

    fn write(&self) -> Option<String> {
        self.as_ref().and_then(PathBuf::write)
    }
}

impl Kind for IpAddr {
    fn expected() -> Cow<'static, str> {
        "an IP address in quotes such as \"127.0.0.1\", or \"0.0.0.0\" for all of them".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            // So it is in files of Centrifugo's.
            "" => Some(Self::from([0, 0, 0, 0])),
            text => text.parse().ok(),
        }
    }

    fn write(&self) -> Option<String> {
        Some(quote(&self.to_string()))
    }
}

impl Kind for Option<Regex> {
    fn expected() -> Cow<'static, str> {
        "a regular expression in quotes such as \"^[a-z0-9]+$\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            "" => Some(None),
            text => expression::read(text).map(Some),
        }
    }

    fn write(&self) -> Option<String> {
        self.as_ref().map(|regex| quote(regex.as_str()))
    }
}

impl Kind for LogFormat {
    fn expected() -> Cow<'static, str> {
        "\"text\" or \"json\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(quote(match self {
            Self::Text => "text",
            Self::Json => "json",
        }))
    }
}

impl Kind for LogFile {
    fn expected() -> Cow<'static, str> {
        "true, false or a path in quotes".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match bool::read(value) {
            Some(true) => Some(Self::Daily),
            Some(false) => Some(Self::Off),
            None => value.text().map(|path| if path.is_empty() { Self::Off } else { Self::At(path.into()) }),
        }
    }

    fn write(&self) -> Option<String> {
        match self {
            Self::Off => Some(false.to_string()),
            Self::Daily => Some(true.to_string()),
            Self::At(path) => path.write(),
        }
    }
}

impl Kind for RecoveryMode {
    fn expected() -> Cow<'static, str> {
        "\"stream\" or \"cache\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            "" | "stream" => Some(Self::Stream),
            "cache" => Some(Self::Cache),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(quote(match self {
            Self::Stream => "stream",
            Self::Cache => "cache",
        }))
    }
}

impl Kind for SlowConsumer {
    fn expected() -> Cow<'static, str> {
        "\"disconnect\", \"skip\" or \"latest\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            "disconnect" => Some(Self::Disconnect),
            "skip" => Some(Self::Skip),
            "latest" => Some(Self::Latest),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(quote(match self {
            Self::Disconnect => "disconnect",
            Self::Skip => "skip",
            Self::Latest => "latest",
        }))
    }
}

impl Kind for DataFormat {
    fn expected() -> Cow<'static, str> {
        "\"json\", \"json_object\", \"binary\" or \"\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            "" => Some(Self::NotEmpty),
            "json" => Some(Self::Json),
            "json_object" => Some(Self::JsonObject),
            "binary" => Some(Self::Binary),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(quote(match self {
            Self::NotEmpty => "",
            Self::Json => "json",
            Self::JsonObject => "json_object",
            Self::Binary => "binary",
        }))
    }
}

impl Kind for Echo {
    fn expected() -> Cow<'static, str> {
        "\"all\", \"not_client\" or \"not_user\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        Self::from_name(value.text()?)
    }

    fn write(&self) -> Option<String> {
        Some(quote(self.name()))
    }
}

impl Kind for Storage {
    fn expected() -> Cow<'static, str> {
        "\"off\", \"async\" or \"stored\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            "off" => Some(Self::Off),
            "async" => Some(Self::Async),
            "stored" => Some(Self::Stored),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(quote(match self {
            Self::Off => "off",
            Self::Async => "async",
            Self::Stored => "stored",
        }))
    }
}

impl Kind for Overload {
    fn expected() -> Cow<'static, str> {
        "\"refuse\" or \"wait\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            "refuse" => Some(Self::Refuse),
            "wait" => Some(Self::Wait),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(quote(match self {
            Self::Refuse => "refuse",
            Self::Wait => "wait",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_centrifugo_writes_them() {
        let read = |text: &str| Duration::read(&Value::Text(text.to_owned()));
        for (text, millis) in [
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("1m0.5s", 60_500),
            ("100ms", 100),
            ("0s", 0),
            ("0", 0),
            ("1day 2h", 93_600_000),
        ] {
            assert_eq!(read(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "1", "-1", "-1s", "1.5", "h", "1.2.3h", "1x", "1e400s", &"9".repeat(400)] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(duration_or_off(&Value::Text("-1".to_owned())), Ok(Duration::ZERO));
    }

    #[test]
    fn where_to_listen_is_an_address_a_port_or_both() {
        let local = Some(IpAddr::from([127, 0, 0, 1]));
        let v6 = "::1".parse().ok();
        for (text, expected) in [
            ("127.0.0.1:8000", (local, Some(8000))),
            ("localhost:8000", (local, Some(8000))),
            ("127.0.0.1", (local, None)),
            ("localhost", (local, None)),
            (":8000", (None, Some(8000))),
            ("8000", (None, Some(8000))),
            ("[::1]:8000", (v6, Some(8000))),
            ("[::1]", (v6, None)),
            ("::1", (v6, None)),
        ] {
            assert_eq!(listen(text), Ok(expected), "{text}");
        }
        for wrong in ["", "example.com:80", "127.0.0.1:http", "127.0.0.1:65536", "http://localhost:8000", "[::1"] {
            assert!(listen(wrong).unwrap_err().contains("\"localhost:8000\""), "{wrong}");
        }
    }
}
