//! Three notations, one tree: TOML, YAML and JSON with the line of everything in them.

use std::collections::HashSet;
use std::path::Path;

use jsonc_parser::ast;
use marked_yaml::{LoaderOptions, Node as Yaml};
use toml::de::{DeTable, DeValue};

use super::absent::NULL;
use super::error::ConfigError;
use super::tree::{Node, Value};

/// What a configuration is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Yaml,
    Json,
}

impl Format {
    /// The notation a file's name promises.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Reads `text`; `name` is what its lines are said to be of.
    pub(super) fn parse(self, name: &str, text: &str) -> Result<Node, ConfigError> {
        let source = Source { name, text, line_ends: text.match_indices('\n').map(|(at, _)| at).collect() };
        match self {
            Self::Toml => source.toml(),
            Self::Yaml => source.yaml(),
            Self::Json => source.json(),
        }
    }
}

struct Source<'a> {
    name: &'a str,
    text: &'a str,
    /// Where its lines end.
    line_ends: Vec<usize>,
}

impl Source<'_> {
    fn toml(&self) -> Result<Node, ConfigError> {
        match DeTable::parse(self.text) {
            Ok(table) => Ok(self.node(1, self.toml_table(table.get_ref()))),
            Err(error) => {
                let line = self.line_at(error.span().map_or(0, |span| span.start));
                Err(self.syntax(line, error.message()))
            }
        }
    }

    fn toml_table(&self, table: &DeTable<'_>) -> Value {
        let members = table.iter().map(|(key, value)| {
            let line = self.line_at(key.span().start);
            (key.get_ref().to_string(), self.node(line, self.toml_value(value.get_ref())))
        });
        let mut members: Vec<_> = members.collect();
        members.sort_by_key(|(_, node)| self.line_of(node));
        Value::Table(members)
    }

    fn toml_value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::Table(table) => self.toml_table(table),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| self.node(self.line_at(item.span().start), self.toml_value(item.get_ref())))
                    .collect(),
            ),
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number too large to use"), Value::Integer),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
        }
    }

    fn yaml(&self) -> Result<Node, ConfigError> {
        // A document without content is not a mapping to the parser; to us it is a file that sets nothing.
        let empty = |line: &str| line.is_empty() || line.starts_with('#') || line == "---";
        if self.text.lines().all(|line| empty(line.trim())) {
            return Ok(self.node(1, Value::Table(Vec::new())));
        }
        if let Some(line) = self.second_document() {
            return Err(self.syntax(line, "a second document begins here, of which nothing would be read; keep one"));
        }
        let options = LoaderOptions::default().error_on_duplicate_keys(true).prevent_coercion(true).toplevel_mapping();
        match marked_yaml::parse_yaml_with_options(0, self.text, options) {
            Ok(root) => self.yaml_node(&root),
            Err(error) => Err(ConfigError::Syntax { place: self.name.to_owned(), message: error.to_string() }),
        }
    }

    /// The line on which another document of YAML begins, if one does. Within a text no line can begin like such a mark.
    fn second_document(&self) -> Option<usize> {
        let is_mark = |line: &str, mark| {
            line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        };
        let (mut has_begun, mut has_ended) = (false, false);
        for (at, line) in self.text.lines().enumerate() {
            if line.trim().is_empty() || line.trim().starts_with('#') {
                continue;
            }
            if has_ended {
                return Some(at + 1);
            }
            has_ended = is_mark(line, "...") || (has_begun && is_mark(line, "---"));
            has_begun = has_begun || !line.starts_with('%');
        }
        None
    }

    fn yaml_node(&self, yaml: &Yaml) -> Result<Node, ConfigError> {
        let line = yaml.span().start().map_or(1, marked_yaml::Marker::line);
        let value = match yaml {
            Yaml::Scalar(scalar)
                if scalar.may_coerce() && matches!(scalar.as_str(), "" | "~" | "null" | "Null" | "NULL") =>
            {
                Value::Other(NULL)
            }
            Yaml::Scalar(scalar) if scalar.may_coerce() => Value::Plain(scalar.as_str().to_owned()),
            Yaml::Scalar(scalar) => Value::Text(scalar.as_str().to_owned()),
            Yaml::Sequence(items) => {
                Value::List(items.iter().map(|item| self.yaml_node(item)).collect::<Result<_, _>>()?)
            }
            Yaml::Mapping(members) => {
                let mut table = Vec::with_capacity(members.len());
                for (key, member) in members.iter() {
                    let line = key.span().start().map_or(line, marked_yaml::Marker::line);
                    let node = self.yaml_node(member)?;
                    table.push((key.as_str().to_owned(), self.node(line, node.value)));
                }
                Value::Table(table)
            }
        };
        Ok(self.node(line, value))
    }

    fn json(&self) -> Result<Node, ConfigError> {
        let strict = jsonc_parser::ParseOptions {
            allow_comments: false,
            allow_loose_object_property_names: false,
            allow_trailing_commas: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        match jsonc_parser::parse_to_ast(self.text, &jsonc_parser::CollectOptions::default(), &strict) {
            Ok(parsed) => match parsed.value {
                Some(value) => self.json_node(&value),
                None => Ok(self.node(1, Value::Table(Vec::new()))),
            },
            Err(error) => Err(self.syntax(error.line_display(), &error.kind().to_string())),
        }
    }

    fn json_node(&self, json: &ast::Value<'_>) -> Result<Node, ConfigError> {
        use jsonc_parser::common::Ranged as _;
        let value = match json {
            ast::Value::Object(object) => {
                let mut table: Vec<(String, Node)> = Vec::with_capacity(object.properties.len());
                let mut known = HashSet::new();
                for property in &object.properties {
                    let (key, line) = (property.name.as_str(), self.line_at(property.range.start));
                    if !known.insert(key) {
                        return Err(self.syntax(line, &format!("`{key}` stands there twice; keep one")));
                    }
                    let node = self.json_node(&property.value)?;
                    table.push((key.to_owned(), self.node(line, node.value)));
                }
                Value::Table(table)
            }
            ast::Value::Array(items) => {
                Value::List(items.elements.iter().map(|item| self.json_node(item)).collect::<Result<_, _>>()?)
            }
            ast::Value::StringLit(text) => Value::Text(text.value.to_string()),
            ast::Value::BooleanLit(truth) => Value::Bool(truth.value),
            ast::Value::NumberLit(number) => number
                .value
                .parse()
                .map_or(Value::Other("a number with a fraction or too large to use"), Value::Integer),
            ast::Value::NullKeyword(_) => Value::Other(NULL),
        };
        Ok(self.node(self.line_at(json.range().start), value))
    }

    fn node(&self, line: usize, value: Value) -> Node {
        Node { place: self.place(line), value }
    }

    fn syntax(&self, line: usize, message: &str) -> ConfigError {
        // Parsers break their messages over lines; a refusal is one line.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        ConfigError::Syntax { place: self.place(line), message }
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    fn line_of(&self, node: &Node) -> usize {
        node.place[self.name.len() + 1..].parse().unwrap_or(0)
    }

    fn line_at(&self, byte: usize) -> usize {
        1 + self.line_ends.partition_point(|&end| end < byte)
    }
}
