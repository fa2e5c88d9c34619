//! The tools of the database, as an operator types them.

use std::path::Path;
use std::process::Output;

use crate::{TempDir, roomcast, text};

/// Three messages of one room and one of another: JSON, bytes that are none, an author, an erased one.
const LINES: &str = concat!(
    r#"{"channel":"chat:1","offset":1,"time":1700000000000,"data":{"t": "a"},"info":{"user":"ann","client":"c1","conn_info":{"name":"Ann"}}}"#,
    "\n",
    r#"{"channel":"chat:1","offset":2,"time":1700000000001,"data_base64":"AP8=","tags":{"k":"v"}}"#,
    "\n",
    r#"{"channel":"chat:1","offset":3,"time":1700000000002,"data":"b","info":{"user":"bob","client":"c2"}}"#,
    "\n",
    r#"{"channel":"news","offset":7,"time":1700000000003,"data":[1]}"#,
    "\n",
);

/// A data directory, and the tools on it.
struct Data(TempDir);

impl Data {
    fn new() -> Self {
        let data = Self(TempDir::new());
        std::fs::create_dir_all(data.0.path()).unwrap();
        data
    }

    /// One that holds [`LINES`].
    fn filled() -> Self {
        let data = Self::new();
        let said = data.tool(&["import", &data.write("lines.jsonl", LINES)]).succeeded();
        assert_eq!(said, "4 messages imported, 0 were there already\n");
        data
    }

    fn tool(&self, arguments: &[&str]) -> Output {
        roomcast(&[arguments, &["--data-dir", self.0.path()]].concat())
    }

    fn file(&self, name: &str) -> String {
        Path::new(self.0.path()).join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.file(name), content).unwrap();
        self.file(name)
    }
}

trait Outcome {
    fn succeeded(&self) -> String;
    fn failed(&self) -> String;
}

impl Outcome for Output {
    fn succeeded(&self) -> String {
        assert_eq!(self.status.code(), Some(0), "{}", text(&self.stderr));
        text(&self.stdout)
    }

    fn failed(&self) -> String {
        assert_eq!(self.status.code(), Some(1), "{}", text(&self.stderr));
        let said = text(&self.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }
}

#[test]
fn what_is_exported_is_what_was_imported() {
    let data = Data::filled();
    assert_eq!(data.tool(&["export"]).succeeded(), LINES);
    assert_eq!(data.tool(&["export", "news"]).succeeded().lines().count(), 1);
    let file = data.file("all.jsonl");
    data.tool(&["export", "--out", &file]).succeeded();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), LINES);
    assert!(data.tool(&["export", "--out", &file]).failed().contains("exists"), "nothing is overwritten");
    let again = data.tool(&["import", &file]).succeeded();
    assert_eq!(again, "0 messages imported, 4 were there already\n");
}

#[test]
fn history_shows_the_part_asked_for() {
    let data = Data::filled();
    let offsets = |more: &[&str]| {
        let shown = data.tool(&[&["history", "chat:1"], more].concat()).succeeded();
        let offset = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].as_u64().unwrap();
        shown.lines().map(offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(&[]), [1, 2, 3]);
    assert_eq!(offsets(&["--limit", "2"]), [1, 2]);
    assert_eq!(offsets(&["--since", "1"]), [2, 3]);
    assert_eq!(offsets(&["--reverse", "--limit", "2"]), [3, 2]);
    assert_eq!(offsets(&["--reverse", "--since", "3"]), [2, 1]);
    assert_eq!(offsets(&["--since", "3"]), Vec::<u64>::new());
    assert!(data.tool(&["history", "nowhere"]).failed().contains("nowhere"));
}

#[test]
fn what_cannot_be_imported_names_its_line() {
    let data = Data::new();
    let line = LINES.lines().next().unwrap();
    for (second, said) in [
        ("{\"channel\":", "line 2"),
        ("{\"channel\":\"chat:1\",\"offset\":5,\"time\":1,\"data\":1}", "some are missing between"),
        ("{\"channel\":\"chat:1\",\"offset\":0,\"time\":1,\"data\":1}", "offsets count from 1"),
        ("{\"channel\":\"chat:1\",\"offset\":2,\"time\":1}", "data_base64"),
    ] {
        let refused = data.tool(&["import", &data.write("lines", format!("{line}\n{second}\n"))]).failed();
        assert!(refused.contains("line 2") && refused.contains(said), "{refused}");
    }
    assert!(data.tool(&["import", &data.file("nothing")]).failed().contains("No such file"));
}

#[test]
fn a_backup_is_a_database() {
    let (data, other) = (Data::filled(), Data::new());
    let copy = other.file("rooms.db");
    assert!(data.tool(&["backup", &copy]).succeeded().contains(&copy));
    assert_eq!(other.tool(&["export"]).succeeded(), LINES);
    assert_eq!(other.tool(&["check"]).succeeded(), "the database is sound\n");
    assert!(data.tool(&["backup", &copy]).failed().contains("exists already"));
}

#[test]
fn who_is_erased_is_gone_and_the_places_stay() {
    let data = Data::filled();
    assert_eq!(data.tool(&["erase", "ann"]).succeeded(), "1 messages erased\n");
    let shown = data.tool(&["history", "chat:1"]).succeeded();
    assert_eq!(shown.lines().next(), Some(r#"{"channel":"chat:1","offset":1,"time":1700000000000,"erased":true}"#));
    assert_eq!(shown.lines().count(), 3);
    let file = std::fs::read(data.file("rooms.db")).unwrap();
    assert!(!file.windows(5).any(|bytes| bytes == b"\"Ann\""), "nothing of it is in the file");
    assert_eq!(data.tool(&["remove-history", "chat:1"]).succeeded(), "3 messages removed\n");
    assert_eq!(data.tool(&["history", "chat:1"]).succeeded(), "");
    let next = r#"{"channel":"chat:1","offset":4,"time":1,"data":1}"#;
    let said = data.tool(&["import", &data.write("next", next)]).succeeded();
    assert_eq!(said, "1 messages imported, 0 were there already\n", "the position stays");
}

#[test]
fn a_database_that_is_damaged_or_not_ours_is_refused_with_a_way_out() {
    let data = Data::filled();
    let serve = |data: &Data| {
        let output = data.tool(&["serve", "--dev", "--listen", "127.0.0.1:0", "--log-level", "off"]);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr).lines().last().unwrap_or_default().to_owned()
    };
    let mut file = std::fs::read(data.file("rooms.db")).unwrap();
    let (start, end) = (4_096, file.len());
    file[start..end].fill(0xa5);
    data.write("rooms.db", &file);
    let said = data.tool(&["check"]).failed();
    assert!(said.contains("damaged") && said.contains("roomcast export"), "{said}");
    data.write("rooms.db", "no database at all, but long enough to be looked at as one: ".repeat(100));
    let said = serve(&data);
    assert!(said.contains("is no database") && said.contains("move it away"), "{said}");
    let foreign = rusqlite::Connection::open(data.file("other.db")).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(foreign);
    std::fs::rename(data.file("other.db"), data.file("rooms.db")).unwrap();
    let said = serve(&data);
    assert!(said.contains("another program"), "{said}");
}

#[test]
fn a_database_that_is_not_there_is_not_made_by_looking() {
    let data = Data::new();
    for tool in [&["history", "a"][..], &["export"], &["check"], &["backup", "b.db"]] {
        assert!(data.tool(tool).failed().contains("there is no database"), "{tool:?}");
    }
    assert_eq!(std::fs::read_dir(data.0.path()).unwrap().count(), 0);
}
