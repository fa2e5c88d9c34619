//! docs/protocol.md says what becomes of every field that a client may send; here is the schema's list of them, and each is tried
//! in both encodings.

use roomcast_protocol::{Command, Encoding, Limits};

const PAGE: &str = include_str!("../../docs/protocol.md");

/// What a field may hold.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    Flag,
    Text,
    /// A payload.
    Data,
    /// A message of which nothing is set but its first field, a text.
    Message,
    /// The rooms of a connect command.
    Subs,
    Position,
}

/// A name, its number, and what it holds.
type Field = (&'static str, u32, Kind);

/// The commands of `client.proto` with the numbers of their fields.
const SCHEMA: [(&str, u32, &[Field]); 12] = [
    (
        "connect",
        4,
        &[
            ("token", 1, Kind::Text),
            ("data", 2, Kind::Data),
            ("subs", 3, Kind::Subs),
            ("name", 4, Kind::Text),
            ("version", 5, Kind::Text),
            ("headers", 6, Kind::Message),
            ("flag", 7, Kind::Number),
            ("dict", 8, Kind::Text),
            ("profile", 9, Kind::Text),
        ],
    ),
    (
        "subscribe",
        5,
        &[
            ("channel", 1, Kind::Text),
            ("token", 2, Kind::Text),
            ("recover", 3, Kind::Flag),
            ("epoch", 6, Kind::Text),
            ("offset", 7, Kind::Number),
            ("data", 8, Kind::Data),
            ("positioned", 9, Kind::Flag),
            ("recoverable", 10, Kind::Flag),
            ("join_leave", 11, Kind::Flag),
            ("delta", 12, Kind::Text),
            ("tf", 13, Kind::Message),
            ("flag", 14, Kind::Number),
            ("type", 15, Kind::Number),
            ("phase", 16, Kind::Number),
            ("cursor", 17, Kind::Text),
            ("limit", 18, Kind::Number),
            ("asc", 19, Kind::Flag),
        ],
    ),
    ("unsubscribe", 6, &[("channel", 1, Kind::Text)]),
    (
        "publish",
        7,
        &[
            ("channel", 1, Kind::Text),
            ("data", 2, Kind::Data),
            ("type", 3, Kind::Number),
            ("key", 4, Kind::Text),
            ("removed", 5, Kind::Flag),
        ],
    ),
    ("presence", 8, &[("channel", 1, Kind::Text)]),
    ("presence_stats", 9, &[("channel", 1, Kind::Text)]),
    (
        "history",
        10,
        &[
            ("channel", 1, Kind::Text),
            ("limit", 7, Kind::Number),
            ("since", 8, Kind::Position),
            ("reverse", 9, Kind::Flag),
        ],
    ),
    ("ping", 11, &[]),
    ("send", 12, &[("data", 1, Kind::Data)]),
    ("rpc", 13, &[("data", 1, Kind::Data), ("method", 2, Kind::Text)]),
    ("refresh", 14, &[("token", 1, Kind::Text)]),
    ("sub_refresh", 15, &[("channel", 1, Kind::Text), ("token", 2, Kind::Text)]),
];

impl Kind {
    fn json(self) -> &'static str {
        match self {
            Self::Number => "7",
            Self::Flag => "true",
            Self::Text | Self::Data => r#""some""#,
            Self::Message => r#"{"key":"some"}"#,
            Self::Subs => r#"{"some":{"recover":true,"offset":7,"epoch":"e"}}"#,
            Self::Position => r#"{"offset":7,"epoch":"e"}"#,
        }
    }

    fn protobuf(self, number: u32) -> Vec<u8> {
        match self {
            Self::Number => [varint(number << 3), vec![7]].concat(),
            Self::Flag => [varint(number << 3), vec![1]].concat(),
            Self::Text | Self::Data => delimited(number, b"some"),
            Self::Message => delimited(number, &delimited(1, b"some")),
            Self::Subs => delimited(
                number,
                &[
                    delimited(1, b"some"),
                    delimited(2, &[vec![3 << 3, 1], delimited(6, b"e"), vec![7 << 3, 7]].concat()),
                ]
                .concat(),
            ),
            Self::Position => delimited(number, &[vec![1 << 3, 7], delimited(2, b"e")].concat()),
        }
    }
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn delimited(number: u32, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u32), bytes.to_vec()].concat()
}

/// A command of that method in both encodings, with one field or none.
fn commands(id: u32, method: (&str, u32), field: Option<Field>) -> [Command; 2] {
    let json = field.map_or_else(String::new, |(name, _, kind)| format!(r#""{name}":{}"#, kind.json()));
    let json = format!(r#"{{"id":{id},"{}":{{{json}}}}}"#, method.0);
    let body = field.map_or_else(Vec::new, |(_, number, kind)| kind.protobuf(number));
    let body = [vec![1 << 3], varint(id), delimited(method.1, &body)].concat();
    let protobuf = [varint(body.len() as u32), body].concat();
    let read = |encoding: Encoding, frame: &[u8]| {
        let mut commands = encoding.commands(frame, &Limits::default()).expect("a frame");
        commands.next().expect("a command").unwrap_or_else(|error| panic!("{json}: {error}"))
    };
    [read(Encoding::Json, json.as_bytes()), read(Encoding::Protobuf, &protobuf)]
}

/// The rows of the page: command, field, number, and what becomes of it.
fn rows() -> Vec<(String, String, u32, String)> {
    let table = PAGE.split_once("\n### Fields\n").expect("the section").1;
    let table = table.split("\n#").next().expect("its end");
    let cells = table.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let [command, field, number, becomes, ""] = cells[..] else { return None };
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        Some((plain(command), plain(field), number.parse().ok()?, becomes.to_owned()))
    });
    cells.collect()
}

#[test]
fn every_field_of_the_schema_is_on_the_page_and_does_what_it_says() {
    let mut rows = rows();
    let id = rows.remove(0);
    assert_eq!((id.0.as_str(), id.1.as_str(), id.2), ("any", "id", 1));
    for (method, tag, fields) in SCHEMA {
        let without = commands(7, (method, tag), None);
        for (read, without) in commands(8, (method, tag), None).iter().zip(&without) {
            assert_ne!(read, without, "the id of {method}");
        }
        for &(name, number, kind) in fields {
            let at = rows.iter().position(|row| row.0 == method && row.1 == name);
            let (_, _, said, becomes) = rows.remove(at.unwrap_or_else(|| panic!("{method}.{name} is not on the page")));
            assert_eq!(said, number, "{method}.{name}");
            let is_read = ["read", "refused"].iter().any(|word| becomes.starts_with(word));
            assert!(is_read || becomes.starts_with("passed over"), "{method}.{name}: {becomes}");
            for (read, without) in commands(7, (method, tag), Some((name, number, kind))).iter().zip(&without) {
                assert_eq!(read != without, is_read, "{method}.{name} is {becomes}, but {read:?}");
            }
        }
    }
    assert!(rows.is_empty(), "fields that are not in the schema: {rows:?}");
}

/// What the page says is refused is refused, and whatever is passed over does no harm.
#[test]
fn what_the_page_says_is_refused_is_and_nothing_else() {
    let server = crate::harness::Running::start();
    let mut client = server.connected("Ann");
    let mut id = 1;
    for (method, field, _, becomes) in rows() {
        let Some((_, _, fields)) = SCHEMA.iter().find(|(name, ..)| *name == method) else { continue };
        // A delta that nobody knows closes the connection.
        if !["subscribe", "publish"].contains(&method.as_str())
            || ["channel", "epoch", "delta"].contains(&field.as_str())
        {
            continue;
        }
        let (name, _, kind) = fields.iter().find(|(name, ..)| **name == field).expect("a field");
        id += 1;
        let data = if method == "publish" && field != "data" { r#","data":1"# } else { "" };
        let value = kind.json();
        client.send(&format!(r#"{{"id":{id},"{method}":{{"channel":"room {id}"{data},"{name}":{value}}}}}"#));
        let reply = client.reply(id);
        let expected = becomes.strip_prefix("refused: error ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let code = reply["error"]["code"].as_u64().map(|code| code as u16);
        assert_eq!(code, expected, "{method}.{field}: {reply}");
    }
    assert!(id > 14, "the page is read otherwise now");
}
