//! Filters by tags: which publications of a room a client wants.
//!
//! A filter is a tree. Its leaves compare one tag with what they name, and `and`, `or` and `not` join them. Everything that matching
//! costs is bounded when a filter comes in.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::{Encoding, Tags};

/// Bytes of a filter as it comes: far above what anybody writes, and little beside a message.
const FILTER_BYTES_MAX: usize = 8 * 1024;

/// Nodes and values of a filter, each of which is compared with every publication at most once.
const FILTER_NODES_MAX: usize = 128;

/// Nodes within each other.
const FILTER_DEPTH_MAX: usize = 16;

/// The longest number that is compared, and its digits behind the point, as at Centrifugo: anything else is no number.
const NUMBER_BYTES_MAX: usize = 200;
const NUMBER_FRACTION_MAX: usize = 19;

/// What a client wants to be given of a room, by the tags of publications.
///
/// # Examples
/// ```
/// use roomcast_protocol::{Encoding, FilterWish, Limits, Request};
///
/// let frame = br#"{"id":1,"subscribe":{"channel":"rates","tf":{"key":"pair","cmp":"eq","val":"EUR"}}}"#;
/// let command = Encoding::Json.commands(frame, &Limits::default())?.next().expect("one command")?;
/// let Request::Subscribe(subscribe) = command.request else { panic!("it is a subscribe") };
/// let FilterWish::Tags(filter) = subscribe.filter else { panic!("it has a filter") };
/// let tags = |pair: &str| Some(std::sync::Arc::new([("pair".to_owned(), pair.to_owned())].into()));
/// assert!(filter.matches(&tags("EUR")) && !filter.matches(&tags("USD")) && !filter.matches(&None));
/// # Ok::<(), roomcast_protocol::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagsFilter {
    node: Node,
    /// See [`TagsFilter::size`].
    size: u16,
}

/// Whether a client wants a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FilterWish {
    /// It wants everything.
    #[default]
    None,
    /// It wants what matches.
    Tags(Arc<TagsFilter>),
    /// What it wants is no filter, or too large a one.
    Malformed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    And(Box<[Self]>),
    Or(Box<[Self]>),
    Not(Box<Self>),
    Leaf { key: Box<str>, test: Test },
}

/// What a tag is to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Test {
    Equal(Box<str>),
    NotEqual(Box<str>),
    In(Box<[Box<str>]>),
    NotIn(Box<[Box<str>]>),
    Exists,
    NotExists,
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Contains(Box<str>),
    /// A number that is one of these beside the other one.
    Number(Comparison, Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A node as it comes.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(default)]
struct RawNode {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "String::is_empty")]
    cmp: String,
    #[prost(string, tag = "4")]
    #[serde(skip_serializing_if = "String::is_empty")]
    val: String,
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vals: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<Self>,
}

impl FilterWish {
    /// What a JSON value asks for.
    pub(crate) fn from_json(json: &str) -> Self {
        // An array would be read as an object whose fields have that order.
        let is_object = json.starts_with('{');
        let read = || serde_json::from_str(json).ok();
        Self::of((json.len() <= FILTER_BYTES_MAX && is_object).then(read).flatten())
    }

    /// What a message of Protobuf asks for.
    pub(crate) fn from_protobuf(bytes: &[u8]) -> Self {
        Self::of((bytes.len() <= FILTER_BYTES_MAX).then(|| RawNode::decode(bytes).ok()).flatten())
    }

    fn of(raw: Option<RawNode>) -> Self {
        let mut left = FILTER_NODES_MAX;
        match raw.and_then(|raw| raw.into_node(&mut left, FILTER_DEPTH_MAX)) {
            Some(node) => {
                let size = u16::try_from(FILTER_NODES_MAX - left).unwrap_or(u16::MAX);
                Self::Tags(Arc::new(TagsFilter { node, size }))
            }
            None => Self::Malformed,
        }
    }
}

impl RawNode {
    /// The node, if it is well-formed and there is so much left of what a filter may have.
    fn into_node(self, left: &mut usize, depth: usize) -> Option<Node> {
        let Self { op, key, cmp, val, vals, nodes } = self;
        *left = left.checked_sub(1 + vals.len())?;
        let depth = depth.checked_sub(1)?;
        let children = |left: &mut usize| -> Option<Box<[Node]>> {
            if nodes.len() > *left {
                return None;
            }
            nodes.into_iter().map(|node| node.into_node(left, depth)).collect()
        };
        match op.as_str() {
            "and" => children(left).filter(|nodes| !nodes.is_empty()).map(Node::And),
            "or" => children(left).filter(|nodes| !nodes.is_empty()).map(Node::Or),
            "not" => {
                let [node] = children(left)?.into_vec().try_into().ok()?;
                Some(Node::Not(Box::new(node)))
            }
            "" => {
                let test = test(&cmp, val.into(), vals.into_iter().map(Into::into).collect())?;
                let needs_key = !matches!(test, Test::Exists | Test::NotExists);
                (!needs_key || !key.is_empty()).then(|| Node::Leaf { key: key.into(), test })
            }
            _ => None,
        }
    }
}

fn test(name: &str, value: Box<str>, values: Box<[Box<str>]>) -> Option<Test> {
    let (has_value, has_values) = (!value.is_empty(), !values.is_empty());
    let (test, is_good) = match name {
        "ex" => (Test::Exists, !has_value && !has_values),
        "nex" => (Test::NotExists, !has_value && !has_values),
        "in" => (Test::In(values), !has_value && has_values),
        "nin" => (Test::NotIn(values), !has_value && has_values),
        _ => {
            let test = match name {
                "eq" => Test::Equal(value),
                "neq" => Test::NotEqual(value),
                "sw" => Test::StartsWith(value),
                "ew" => Test::EndsWith(value),
                "ct" => Test::Contains(value),
                "gt" => Test::Number(Comparison::Greater, value),
                "gte" => Test::Number(Comparison::GreaterOrEqual, value),
                "lt" => Test::Number(Comparison::Less, value),
                "lte" => Test::Number(Comparison::LessOrEqual, value),
                _ => return None,
            };
            (test, has_value && !has_values)
        }
    };
    is_good.then_some(test)
}

impl TagsFilter {
    /// Whether a publication with these tags is wanted.
    pub fn matches(&self, tags: &Tags) -> bool {
        self.node.matches(tags.as_deref())
    }

    /// How many nodes and values it has: at most so many comparisons are made for a publication.
    pub fn size(&self) -> usize {
        self.size.into()
    }

    /// The filter as a client sends it.
    pub fn write(&self, encoding: Encoding) -> Vec<u8> {
        let raw = RawNode::from(&self.node);
        match encoding {
            // There is nothing in it that JSON does not have.
            Encoding::Json | Encoding::JsonPushes => serde_json::to_vec(&raw).unwrap_or_default(),
            Encoding::Protobuf => raw.encode_to_vec(),
        }
    }
}

impl From<&Node> for RawNode {
    fn from(node: &Node) -> Self {
        let join = |op: &str, nodes: &[Node]| Self {
            op: op.to_owned(),
            nodes: nodes.iter().map(Self::from).collect(),
            ..Self::default()
        };
        match node {
            Node::And(nodes) => join("and", nodes),
            Node::Or(nodes) => join("or", nodes),
            Node::Not(node) => join("not", std::slice::from_ref(&**node)),
            Node::Leaf { key, test } => {
                let (cmp, val, vals) = test.parts();
                let vals = vals.iter().map(|value| (**value).to_owned()).collect();
                Self { key: (**key).to_owned(), cmp: cmp.to_owned(), val: val.to_owned(), vals, ..Self::default() }
            }
        }
    }
}

impl Node {
    fn matches(&self, tags: Option<&BTreeMap<String, String>>) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches(tags)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(tags)),
            Self::Not(node) => !node.matches(tags),
            Self::Leaf { key, test } => test.matches(tags.and_then(|tags| tags.get(&**key)).map(String::as_str)),
        }
    }
}

impl Test {
    /// Its name, value and values.
    fn parts(&self) -> (&'static str, &str, &[Box<str>]) {
        match self {
            Self::Equal(value) => ("eq", value, &[]),
            Self::NotEqual(value) => ("neq", value, &[]),
            Self::In(values) => ("in", "", values),
            Self::NotIn(values) => ("nin", "", values),
            Self::Exists => ("ex", "", &[]),
            Self::NotExists => ("nex", "", &[]),
            Self::StartsWith(value) => ("sw", value, &[]),
            Self::EndsWith(value) => ("ew", value, &[]),
            Self::Contains(value) => ("ct", value, &[]),
            Self::Number(Comparison::Greater, value) => ("gt", value, &[]),
            Self::Number(Comparison::GreaterOrEqual, value) => ("gte", value, &[]),
            Self::Number(Comparison::Less, value) => ("lt", value, &[]),
            Self::Number(Comparison::LessOrEqual, value) => ("lte", value, &[]),
        }
    }

    fn matches(&self, tag: Option<&str>) -> bool {
        let is_among = |values: &[Box<str>]| values.iter().any(|value| **value == *tag.unwrap_or_default());
        match self {
            Self::Equal(value) => tag == Some(value),
            Self::NotEqual(value) => tag != Some(value),
            // A tag that is not there is an empty one here.
            Self::In(values) => is_among(values),
            Self::NotIn(values) => !is_among(values),
            Self::Exists => tag.is_some(),
            Self::NotExists => tag.is_none(),
            Self::StartsWith(value) => tag.is_some_and(|tag| tag.starts_with(&**value)),
            Self::EndsWith(value) => tag.is_some_and(|tag| tag.ends_with(&**value)),
            Self::Contains(value) => tag.is_some_and(|tag| tag.contains(&**value)),
            Self::Number(comparison, value) => {
                let order = tag.and_then(Decimal::read).zip(Decimal::read(value)).map(|(tag, value)| tag.cmp(&value));
                order.is_some_and(|order| match comparison {
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                })
            }
        }
    }
}

/// A decimal number, compared exactly.
#[derive(Debug, PartialEq, Eq)]
struct Decimal<'a> {
    is_negative: bool,
    /// Without zeros before it.
    whole: &'a str,
    /// Without zeros behind it.
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Option<Self> {
        if text.len() > NUMBER_BYTES_MAX {
            return None;
        }
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = match unsigned.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (unsigned, ""),
        };
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > NUMBER_FRACTION_MAX || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self { is_negative: text.starts_with('-') && !is_zero, whole, fraction })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let size = self.whole.len().cmp(&other.whole.len());
        // Digits behind the point compare as text does.
        let size = size.then_with(|| self.whole.cmp(other.whole)).then_with(|| self.fraction.cmp(other.fraction));
        match (self.is_negative, other.is_negative) {
            (false, false) => size,
            (true, true) => size.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(json: &str) -> Option<Arc<TagsFilter>> {
        match FilterWish::from_json(json) {
            FilterWish::Tags(filter) => Some(filter),
            _ => None,
        }
    }

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        Some(Arc::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
    }

    #[test]
    fn each_comparison_matches_as_at_centrifugo() {
        let with = |value: &str| tags(&[("a", value)]);
        let absent = tags(&[("b", "x")]);
        for (test, matching, other, matches_absent) in [
            (r#""cmp":"eq","val":"x""#, "x", "y", false),
            (r#""cmp":"neq","val":"x""#, "y", "x", true),
            (r#""cmp":"in","vals":["x","y"]"#, "y", "z", false),
            (r#""cmp":"in","vals":["x",""]"#, "", "z", true),
            (r#""cmp":"nin","vals":["x","y"]"#, "z", "y", true),
            (r#""cmp":"nin","vals":["x",""]"#, "z", "", false),
            (r#""cmp":"sw","val":"ab""#, "abc", "bab", false),
            (r#""cmp":"ew","val":"ab""#, "cab", "abc", false),
            (r#""cmp":"ct","val":"ab""#, "xaby", "axb", false),
            (r#""cmp":"gt","val":"2.50""#, "10", "2.5", false),
            (r#""cmp":"gte","val":"2.50""#, "2.5", "2.499999", false),
            (r#""cmp":"lt","val":"-1""#, "-1.5", "-0.5", false),
            (r#""cmp":"lte","val":"0""#, "-0.0", "0.0000000000000000001", false),
        ] {
            let filter = filter(&format!("{{\"key\":\"a\",{test}}}")).expect(test);
            assert!(filter.matches(&with(matching)), "{test}");
            assert!(!filter.matches(&with(other)), "{test}");
            assert_eq!([filter.matches(&absent), filter.matches(&None)], [matches_absent; 2], "{test}");
        }
        for (cmp, here, absent_too) in [("ex", true, false), ("nex", false, true)] {
            let filter = filter(&format!("{{\"key\":\"a\",\"cmp\":\"{cmp}\"}}")).unwrap();
            assert_eq!(
                [filter.matches(&with("")), filter.matches(&absent), filter.matches(&None)],
                [here, absent_too, absent_too]
            );
        }
    }

    #[test]
    fn what_is_no_number_is_neither_more_nor_less() {
        for no_number in
            ["", "+", "-", ".5", "-.5", "5.", "1e3", "0x1", "1.2.3", "NaN", " 1", "1,5", "1.00000000000000000000"]
        {
            for cmp in ["gt", "gte", "lt", "lte"] {
                let filter = filter(&format!("{{\"key\":\"a\",\"cmp\":\"{cmp}\",\"val\":\"1\"}}")).unwrap();
                assert!(!filter.matches(&tags(&[("a", no_number)])), "{no_number} {cmp}");
            }
        }
        let long = "9".repeat(NUMBER_BYTES_MAX);
        let larger = format!("{{\"key\":\"a\",\"cmp\":\"gt\",\"val\":\"{}\"}}", &long[1..]);
        assert!(filter(&larger).unwrap().matches(&tags(&[("a", &long)])));
        assert!(!filter(&larger).unwrap().matches(&tags(&[("a", &format!("{long}9"))])));
    }

    #[test]
    fn nodes_join_what_is_below_them() {
        let eq = |value: &str| format!("{{\"op\":\"\",\"key\":\"a\",\"cmp\":\"eq\",\"val\":\"{value}\"}}");
        let join = |op: &str, nodes: &[String]| filter(&format!("{{\"op\":\"{op}\",\"nodes\":[{}]}}", nodes.join(",")));
        let (x, y) = (eq("x"), eq("y"));
        let either = join("or", &[x.clone(), y.clone()]).unwrap();
        assert!(either.matches(&tags(&[("a", "y")])) && !either.matches(&tags(&[("a", "z")])));
        let both = join("and", &[x.clone(), y.clone()]).unwrap();
        assert!(!both.matches(&tags(&[("a", "x")])));
        let not = join("not", std::slice::from_ref(&x)).unwrap();
        assert!(not.matches(&None) && !not.matches(&tags(&[("a", "x")])));
        for (op, nodes) in
            [("and", vec![]), ("or", vec![]), ("not", vec![]), ("not", vec![x.clone(), y]), ("xor", vec![x])]
        {
            assert_eq!(join(op, &nodes), None, "{op}");
        }
    }

    #[test]
    fn what_is_no_filter_is_told_from_one() {
        for json in [
            "{}",
            "[]",
            "5",
            "\"x\"",
            r#"["","a","eq","x",[],[]]"#,
            r#"{"key":"a"}"#,
            r#"{"key":"a","cmp":"is","val":"x"}"#,
            r#"{"key":"a","cmp":"eq"}"#,
            r#"{"cmp":"eq","val":"x"}"#,
            r#"{"key":"a","cmp":"eq","val":5}"#,
            r#"{"key":"a","cmp":"eq","val":"x","vals":["x"]}"#,
            r#"{"key":"a","cmp":"in","val":"x"}"#,
            r#"{"key":"a","cmp":"in","vals":[]}"#,
            r#"{"key":"a","cmp":"ex","val":"x"}"#,
            r#"{"op":"and","nodes":[{"key":"a","cmp":"eq"}]}"#,
        ] {
            assert_eq!(FilterWish::from_json(json), FilterWish::Malformed, "{json}");
        }
        assert!(filter(r#"{"cmp":"ex"}"#).is_some(), "as at Centrifugo");
        for noise in [&[0x0a][..], &[0x0a, 1, 0xff], &[0xff; 20], b""] {
            assert_eq!(FilterWish::from_protobuf(noise), FilterWish::Malformed);
        }
    }

    #[test]
    fn a_filter_is_bounded_in_bytes_nodes_and_depth() {
        let leaf = r#"{"key":"a","cmp":"ex"}"#;
        let flat = |nodes: usize| format!("{{\"op\":\"or\",\"nodes\":[{}]}}", vec![leaf; nodes].join(","));
        assert!(filter(&flat(FILTER_NODES_MAX - 1)).is_some());
        assert_eq!(filter(&flat(FILTER_NODES_MAX)), None);
        let values =
            |count: usize| format!("{{\"key\":\"a\",\"cmp\":\"in\",\"vals\":[{}]}}", vec!["\"x\""; count].join(","));
        assert!(filter(&values(FILTER_NODES_MAX - 1)).is_some());
        assert_eq!(filter(&values(FILTER_NODES_MAX)), None);
        let deep = |depth: usize| {
            format!("{}{leaf}{}", "{\"op\":\"not\",\"nodes\":[".repeat(depth - 1), "]}".repeat(depth - 1))
        };
        assert!(filter(&deep(FILTER_DEPTH_MAX)).is_some());
        assert_eq!(filter(&deep(FILTER_DEPTH_MAX + 1)), None);
        assert_eq!(filter(&deep(300)), None, "and beyond what a stack has");
        let long = format!("{{\"key\":\"a\",\"cmp\":\"eq\",\"val\":\"{}\"}}", "x".repeat(FILTER_BYTES_MAX));
        assert_eq!(filter(&long), None);
        let mut nested = RawNode { key: "a".to_owned(), cmp: "ex".to_owned(), ..RawNode::default() };
        for _ in 0..200 {
            nested = RawNode { op: "not".to_owned(), nodes: vec![nested], ..RawNode::default() };
        }
        assert_eq!(FilterWish::from_protobuf(&nested.encode_to_vec()), FilterWish::Malformed);
    }

    fn raw() -> impl Strategy<Value = RawNode> {
        let name = || prop::sample::select(vec!["", "eq", "in", "ex", "gt", "and", "or", "not", "a", "1.5"]);
        let leaf = (name(), name(), name(), name(), prop::collection::vec(name(), 0..3)).prop_map(
            |(op, key, cmp, val, vals)| {
                let [op, key, cmp, val] = [op, key, cmp, val].map(str::to_owned);
                RawNode { op, key, cmp, val, vals: vals.into_iter().map(str::to_owned).collect(), nodes: Vec::new() }
            },
        );
        leaf.prop_recursive(4, 24, 4, |node| {
            (prop::sample::select(vec!["and", "or", "not"]), prop::collection::vec(node, 0..4))
                .prop_map(|(op, nodes)| RawNode { op: op.to_owned(), nodes, ..RawNode::default() })
        })
    }

    fn to_json(node: &RawNode) -> serde_json::Value {
        let RawNode { op, key, cmp, val, vals, nodes } = node;
        let nodes: Vec<_> = nodes.iter().map(to_json).collect();
        serde_json::json!({ "op": op, "key": key, "cmp": cmp, "val": val, "vals": vals, "nodes": nodes })
    }

    proptest! {
        #[test]
        fn both_encodings_mean_the_same_filter(raw in raw(), tag in prop::option::of("[a1.]{0,3}")) {
            let json = FilterWish::from_json(&to_json(&raw).to_string());
            prop_assert_eq!(&json, &FilterWish::from_protobuf(&raw.encode_to_vec()));
            if let FilterWish::Tags(filter) = &json {
                filter.matches(&tag.and_then(|tag| tags(&[("a", &tag)])));
                let again = filter.write(Encoding::Json);
                prop_assert_eq!(&FilterWish::from_json(str::from_utf8(&again).unwrap()), &json);
                prop_assert_eq!(&FilterWish::from_protobuf(&filter.write(Encoding::Protobuf)), &json);
            }
        }

        #[test]
        fn numbers_compare_as_numbers(one in -1_000_000_i64..1_000_000, other in -1_000_000_i64..1_000_000) {
            let text = |number: i64| format!("{}{}.{:03}", if number < 0 { "-" } else { "" }, number.abs() / 1_000, number.abs() % 1_000);
            let (first, second) = (text(one), text(other));
            prop_assert_eq!(Decimal::read(&first).unwrap().cmp(&Decimal::read(&second).unwrap()), one.cmp(&other));
        }

        #[test]
        fn nothing_that_comes_as_a_filter_panics(json in "\\PC{0,60}", bytes: Vec<u8>) {
            FilterWish::from_json(&json);
            FilterWish::from_protobuf(&bytes);
        }
    }
}
