//! Lists that say what a code becomes: a status of HTTP, or another code.

use std::sync::Arc;

use super::parse::Format;
use super::setting::{Kind as _, quote};
use super::tree::{Node, Value};
use roomcast_protocol::CLOSE_REASON_BYTES_MAX;

/// What codes become that a client is refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeTransforms<T> {
    /// Whether they do.
    pub enabled: bool,
    /// By code; the first of a code counts.
    pub transforms: Arc<[Transform<T>]>,
}

impl<T> CodeTransforms<T> {
    /// What that code becomes, if anything else.
    pub(crate) fn find(&self, code: u32) -> Option<&T> {
        let mut all = self.transforms.iter().filter(|_| self.enabled);
        all.find(|transform| transform.code == code).map(|transform| &transform.to)
    }
}

impl<T> Default for CodeTransforms<T> {
    fn default() -> Self {
        Self { enabled: false, transforms: Arc::from([]) }
    }
}

/// What one code becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transform<T> {
    /// The code.
    pub code: u32,
    /// What it becomes.
    pub to: T,
}

impl<T> Transform<T> {
    /// That code becomes this.
    #[must_use]
    pub fn new(code: u32, to: T) -> Self {
        Self { code, to }
    }
}

/// An answer of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpAnswer {
    /// Its status, 200 to 599.
    pub status_code: u16,
    /// Its body; empty: what the protocol calls the code.
    pub body: String,
}

impl HttpAnswer {
    /// That status with that body.
    #[must_use]
    pub fn new(status_code: u16, body: &str) -> Self {
        Self { status_code, body: body.to_owned() }
    }
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Farewell {
    /// Its code, 3000 to 4999.
    pub code: u16,
    /// Why, in ASCII.
    pub reason: String,
}

impl Farewell {
    /// That code for that reason.
    #[must_use]
    pub fn new(code: u16, reason: &str) -> Self {
        Self { code, reason: reason.to_owned() }
    }
}

/// What a code may become, in the file.
pub(super) trait Target: Sized {
    /// The names of its number and of its text.
    const KEYS: [&'static str; 2];
    /// What to write, to end the sentence "expected …".
    const EXPECTED: &'static str;

    fn of(number: u16, text: String) -> Option<Self>;

    fn parts(&self) -> (u16, &str);
}

impl Target for HttpAnswer {
    const KEYS: [&'static str; 2] = ["status_code", "body"];
    const EXPECTED: &'static str = "`status_code` 200 to 599 and a `body` of at most 4096 bytes";

    fn of(status_code: u16, body: String) -> Option<Self> {
        let fits = (200..=599).contains(&status_code) && body.len() <= BODY_BYTES_MAX;
        fits.then_some(Self { status_code, body })
    }

    fn parts(&self) -> (u16, &str) {
        (self.status_code, &self.body)
    }
}

impl Target for Farewell {
    const KEYS: [&'static str; 2] = ["code", "reason"];
    const EXPECTED: &'static str = "`code` 3000 to 4999 and a `reason` of at most 123 bytes of ASCII";

    fn of(code: u16, reason: String) -> Option<Self> {
        // What a close frame can carry.
        let fits = (3000..=4999).contains(&code) && reason.is_ascii() && reason.len() <= CLOSE_REASON_BYTES_MAX;
        fits.then_some(Self { code, reason })
    }

    fn parts(&self) -> (u16, &str) {
        (self.code, &self.reason)
    }
}

/// Codes of the protocol and of applications are fewer.
const TRANSFORMS_MAX: usize = 256;
/// A page that says why.
const BODY_BYTES_MAX: usize = 4_096;

/// Reads `[{code, to: {…}}]`; in the environment it is JSON.
pub(super) fn read<T: Target>(value: &Value) -> Result<Arc<[Transform<T>]>, String> {
    let written;
    let items = match value {
        Value::List(items) => items,
        Value::Plain(text) => {
            written = Format::Json.parse("", text).map_err(|_| expected::<T>(value))?;
            match &written.value {
                Value::List(items) => items,
                _ => return Err(expected::<T>(value)),
            }
        }
        _ => return Err(expected::<T>(value)),
    };
    if items.len() > TRANSFORMS_MAX {
        return Err(format!("expected at most {TRANSFORMS_MAX} entries, found {}", items.len()));
    }
    items.iter().map(|item| entry(&item.value).ok_or_else(|| expected::<T>(&item.value))).collect()
}

fn expected<T: Target>(found: &Value) -> String {
    let [number, text] = T::KEYS;
    format!(
        "expected a list of {{code = …, to = {{{number} = …, {text} = …}}}} with {}, found {}",
        T::EXPECTED,
        found.describe()
    )
}

fn entry<T: Target>(value: &Value) -> Option<Transform<T>> {
    let [code, to] = members(value, ["code", "to"])?;
    let [number, text] = members(&to?.value, T::KEYS)?;
    let code = u32::try_from(usize::read(&code?.value)?).ok().filter(|code| *code > 0)?;
    let text = text.map_or_else(|| Some(String::new()), |text| String::read(&text.value))?;
    let number = u16::try_from(usize::read(&number?.value)?).ok()?;
    Some(Transform { code, to: T::of(number, text)? })
}

/// The members of these names; `None` if there are others.
fn members<'a>(value: &'a Value, names: [&str; 2]) -> Option<[Option<&'a Node>; 2]> {
    let Value::Table(members) = value else { return None };
    if members.iter().any(|(name, _)| !names.contains(&name.as_str())) {
        return None;
    }
    Some(names.map(|name| members.iter().find(|(of, _)| of == name).map(|(_, node)| node)))
}

pub(super) fn write<T: Target>(transforms: &[Transform<T>]) -> String {
    let entry = |Transform { code, to }: &Transform<T>| {
        let ([number_key, text_key], (number, text)) = (T::KEYS, to.parts());
        format!("{{ code = {code}, to = {{ {number_key} = {number}, {text_key} = {} }} }}", quote(text))
    };
    let entries: Vec<String> = transforms.iter().map(entry).collect();
    format!("[{}]", entries.join(", "))
}
