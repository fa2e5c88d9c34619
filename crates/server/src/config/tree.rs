//! What a file says before anybody asks what it means: values, each with the place it stands at.

/// A value and where it was written.
#[derive(Debug)]
pub(super) struct Node {
    /// `file:line`, or the environment variable.
    pub(super) place: String,
    pub(super) value: Value,
}

/// A value, as far as the notation tells.
#[derive(Debug)]
pub(super) enum Value {
    /// Keys in the order of their lines, each once; the place of a member is that of its key.
    Table(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    Integer(i64),
    Bool(bool),
    /// Text that may stand for any kind: an environment variable, or a YAML scalar without quotes.
    Plain(String),
    /// A kind no option takes, by name.
    Other(&'static str),
}

impl Value {
    /// What to call it when something else was expected.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Table(_) => "a section".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Plain(text) => format!("`{text}`"),
            Self::Integer(number) => format!("the number {number}"),
            Self::Bool(truth) => format!("`{truth}`"),
            Self::Other(kind) => (*kind).to_owned(),
        }
    }
}
