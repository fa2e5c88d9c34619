//! The tools of the database, as an operator types them.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{TempDir, TempFile, command, roomcast, text};

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
    let refused = data.tool(&["export", "--out", &file]).failed();
    assert!(refused.contains(&file) && refused.contains("exists already"), "nothing is overwritten: {refused}");
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
fn history_says_what_it_has_not_shown() {
    let data = Data::filled();
    let said = |more: &[&str]| text(&data.tool(&[&["history", "chat:1"], more].concat()).stderr);
    assert_eq!(said(&[]), "");
    assert_eq!(said(&["--limit", "1"]), "roomcast: 2 more: go on with --since 1, or show more with --limit\n");
    let reverse = "roomcast: 2 more: go on with --reverse --since 3, or show more with --limit\n";
    assert_eq!(said(&["--limit", "1", "--reverse"]), reverse);
    let next = data.tool(&["history", "chat:1", "--limit", "1", "--since", "1"]).succeeded();
    assert!(next.contains("\"offset\":2,"), "{next}");
    let next = data.tool(&["history", "chat:1", "--limit", "1", "--reverse", "--since", "3"]).succeeded();
    assert!(next.contains("\"offset\":2,"), "{next}");
}

#[test]
fn what_is_written_nowhere_is_a_failure_that_names_it() {
    let data = Data::filled();
    for tool in [&["export"][..], &["history", "chat:1"]] {
        let arguments = [tool, &["--data-dir", data.0.path()]].concat();
        let full = std::fs::File::create("/dev/full").unwrap();
        let refused = command(&arguments).stdout(full).output().unwrap().failed();
        assert!(refused.contains("the standard output: "), "{refused}");
    }
    let file = data.file("nowhere/all.jsonl");
    let refused = data.tool(&["export", "--out", &file]).failed();
    assert!(refused.contains(&file), "{refused}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_lines() {
    let data = Data::new();
    let said = data.tool(&["import", &data.write("lines.jsonl", format!("\u{feff}{LINES}"))]).succeeded();
    assert_eq!(said, "4 messages imported, 0 were there already\n");
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
    let refused = data.tool(&["import", &data.file("nothing")]).failed();
    assert!(refused.contains(&data.file("nothing")) && refused.contains("No such file"), "{refused}");
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
    let would = data.tool(&["erase", "ann", "--dry-run"]).succeeded();
    assert_eq!(would, "1 messages by \"ann\" would be erased for good\n");
    for tool in [&["erase", "ann"][..], &["remove-history", "chat:1"]] {
        let refused = data.tool(tool);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains("--yes"), "nobody can be asked: {}", text(&refused.stderr));
    }
    assert_eq!(data.tool(&["export"]).succeeded(), LINES, "nothing was changed");
    assert_eq!(data.tool(&["erase", "ann", "--yes"]).succeeded(), "1 messages erased\n");
    let shown = data.tool(&["history", "chat:1"]).succeeded();
    assert_eq!(shown.lines().next(), Some(r#"{"channel":"chat:1","offset":1,"time":1700000000000,"erased":true}"#));
    assert_eq!(shown.lines().count(), 3);
    let file = std::fs::read(data.file("rooms.db")).unwrap();
    assert!(!file.windows(5).any(|bytes| bytes == b"\"Ann\""), "nothing of it is in the file");
    let would = data.tool(&["remove-history", "chat:1", "--dry-run"]).succeeded();
    assert_eq!(would, "3 messages of \"chat:1\" would be removed for good\n");
    assert_eq!(data.tool(&["remove-history", "chat:1", "--yes"]).succeeded(), "3 messages removed\n");
    assert_eq!(data.tool(&["history", "chat:1"]).succeeded(), "");
    let next = r#"{"channel":"chat:1","offset":4,"time":1,"data":1}"#;
    let said = data.tool(&["import", &data.write("next", next)]).succeeded();
    assert_eq!(said, "1 messages imported, 0 were there already\n", "the position stays");
}

/// Rooms would begin new epochs after a run that was not ended, though nothing was lost.
#[test]
fn a_tool_that_finds_nothing_to_do_ends_its_run() {
    let data = Data::filled();
    let refused = data.tool(&["remove-history", "chta:1", "--yes"]).failed();
    assert!(refused.contains("knows no room \"chta:1\""), "{refused}");
    let database = rusqlite::Connection::open(data.file("rooms.db")).unwrap();
    let unclean: u32 =
        database.query_row("SELECT count(*) FROM runs WHERE is_clean = 0", [], |row| row.get(0)).unwrap();
    assert_eq!(unclean, 0);
}

#[test]
fn what_cannot_be_undone_is_not_done_to_a_new_database() {
    let data = Data::new();
    for tool in [["erase", "ann", "--yes"], ["remove-history", "chat:1", "--yes"]] {
        let refused = data.tool(&tool).failed();
        assert!(refused.contains("there is no database"), "{refused}");
    }
    assert_eq!(std::fs::read_dir(data.0.path()).unwrap().count(), 0, "and none was made");
}

#[test]
fn an_export_that_has_not_everything_fails_and_has_the_rest() {
    let data = Data::new();
    let line = |room: &str, offset: u32, bytes: usize| {
        let data = "x".repeat(bytes);
        format!("{{\"channel\":\"{room}\",\"offset\":{offset},\"time\":1,\"data\":\"{data}\"}}\n")
    };
    // One that is long, and so much behind it that the last one lies elsewhere.
    let others = (1..=40).map(|offset| line("other", offset, 900));
    let lines: String = [line("chat", 1, 20_000)].into_iter().chain(others).chain([line("news", 1, 1)]).collect();
    data.tool(&["import", &data.write("lines", lines)]).succeeded();
    let mut file = std::fs::read(data.file("rooms.db")).unwrap();
    // A page of the long one begins with the number of the next.
    let page = file.chunks_mut(4_096).find(|page| page[4..].iter().all(|byte| *byte == b'x')).unwrap();
    page[..4].fill(0xff);
    data.write("rooms.db", &file);
    let copy = data.file("copy.jsonl");
    let output = data.tool(&["export", "--out", &copy]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("\"chat\" could not be read to its end"), "{said}");
    assert!(said.contains("rooms could not be read to their ends"), "{said}");
    assert!(std::fs::read_to_string(copy).unwrap().contains("\"news\""), "the other rooms are there");
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

/// So many messages of 100 bytes in one room, as lines.
fn numbered(count: u64) -> String {
    let line = |n| format!("{{\"channel\":\"hall\",\"offset\":{n},\"time\":{n},\"data\":\"{n:0100}\"}}\n");
    (1..=count).map(line).collect()
}

#[test]
fn what_came_before_a_bad_line_is_kept_and_counted() {
    let data = Data::new();
    let good = numbered(2_500);
    let refused = data.tool(&["import", &data.write("lines", format!("{good}{{oops\n"))]).failed();
    assert!(
        refused.contains("line 2501") && refused.contains("2500 messages imported, 0 were there already"),
        "{refused}"
    );
    assert_eq!(data.tool(&["export"]).succeeded(), good);
    let mended = format!("\u{feff}{good}\n \n{}", numbered(2_501).lines().last().unwrap());
    let said = data.tool(&["import", &data.write("lines", mended)]).succeeded();
    assert_eq!(said, "1 messages imported, 2500 were there already\n");
}

/// Nothing comes in that could not have come over the wire.
#[test]
fn what_no_client_could_send_is_not_imported() {
    let data = Data::new();
    let long = "x".repeat(60_000);
    for (room, offset, time, payload) in [
        ("", 1, 1, "1"),
        (long.as_str(), 1, 1, "1"),
        ("a\\u0007b", 1, 1, "1"),
        ("a", 0, 1, "1"),
        ("a", 1_u64 << 53, 1_u64, "1"),
        ("a", 1_u64 << 63, 1_u64, "1"),
        ("a", u64::MAX, 1, "1"),
        ("a", 1, 1_u64 << 53, "1"),
        ("a", 1, 1, &format!("\"{}\"", "x".repeat(70_000))),
    ] {
        let line = format!(r#"{{"channel":"{room}","offset":{offset},"time":{time},"data":{payload}}}"#);
        let refused = data.tool(&["import", &data.write("line", line)]).failed();
        assert!(refused.contains("line 1: ") && refused.contains("0 messages imported"), "{refused}");
    }
    let long = "x".repeat(140_000);
    for beside in [
        format!(r#""info":{{"user":"{long}","client":"c"}}"#),
        format!(r#""info":{{"user":"u","client":"c","conn_info":"{long}"}}"#),
        format!(r#""tags":{{"k":"{long}"}}"#),
    ] {
        let line = format!(r#"{{"channel":"a","offset":1,"time":1,"data":1,{beside}}}"#);
        let refused = data.tool(&["import", &data.write("line", line)]).failed();
        assert!(refused.contains("more than the tokens of a client can hold"), "{refused}");
    }
    assert_eq!(data.tool(&["export"]).succeeded(), "");
    let largest = format!(r#"{{"channel":"a","offset":{},"time":1,"data":1}}"#, (1_u64 << 53) - 1);
    data.tool(&["import", &data.write("line", largest)]).succeeded();
}

/// A copy that does not fit leaves nothing that could be taken for one.
#[test]
fn a_copy_is_whole_or_not_there() {
    let data = Data::new();
    data.tool(&["import", &data.write("lines", numbered(5_000))]).succeeded();
    let other = Data::new();
    let limited = |tool: &[&str]| {
        // Blocks of 512 bytes; a write beyond them is to fail instead of ending the process.
        let shell = "trap '' XFSZ; ulimit -f 400; exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", shell, "sh", env!("CARGO_BIN_EXE_roomcast")]).args(tool);
        command.args(["--data-dir", data.0.path()]).output().unwrap()
    };
    let (copy, lines) = (other.file("copy.db"), other.file("lines"));
    assert!(limited(&["backup", &copy]).failed().contains("copy.db"));
    assert_eq!(limited(&["export", "--out", &lines]).status.code(), Some(1));
    let left: Vec<_> = std::fs::read_dir(other.0.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    data.tool(&["backup", &copy]).succeeded();
    data.tool(&["export", "--out", &lines]).succeeded();
    assert_eq!(std::fs::read_to_string(&lines).unwrap(), numbered(5_000));
    let left = std::fs::read_dir(other.0.path()).unwrap().count();
    assert_eq!(left, 2, "the two, and nothing beside them");
}

#[test]
fn what_is_empty_is_not_called_sound() {
    let data = Data::new();
    data.write("rooms.db", "");
    for tool in [
        &["check"][..],
        &["backup", &data.file("copy")],
        &["export"],
        &["history", "chat:1"],
        &["erase", "ann", "--dry-run"],
        &["erase", "ann", "--yes"],
        &["remove-history", "chat:1", "--yes"],
    ] {
        let said = data.tool(tool).failed();
        assert!(said.contains("there is nothing in") && said.contains("put a backup"), "{said}");
    }
    assert!(!Path::new(&data.file("copy")).exists());
    assert_eq!(std::fs::metadata(data.file("rooms.db")).unwrap().len(), 0, "it can be seen still");
    let new = Data::new();
    new.tool(&["import", &new.write("none", "")]).succeeded();
    assert_eq!(new.tool(&["check"]).succeeded(), "the database is sound; there are no rooms in it\n");
}

/// What a server says until it listens. It is then ended, and must end well.
fn served(data_dir: &str) -> String {
    let arguments = ["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
    let mut server = command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    for line in BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok) {
        said += &line;
        said.push('\n');
        if line.contains("listening on http://") {
            assert!(Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap().success());
        }
    }
    assert_eq!(server.wait().unwrap().code(), Some(0), "{said}");
    said
}

#[test]
fn a_database_that_was_emptied_or_lost_its_log_is_said() {
    const CHECK: &str = "run `roomcast check`";
    let data = Data::new();
    let said = served(data.0.path());
    assert!(!said.contains(CHECK), "a new one is no trouble: {said}");
    let said = served(data.0.path());
    assert!(!said.contains(CHECK), "neither is one without rooms: {said}");
    data.write("rooms.db", "");
    let said = served(data.0.path());
    assert!(said.contains("is empty") && said.contains(CHECK), "{said}");
    std::fs::remove_file(data.file("rooms.db")).unwrap();
    data.write("rooms.db-wal", vec![0xa5; 100_000]);
    let said = served(data.0.path());
    assert!(said.contains("nothing could be read") && said.contains(CHECK), "{said}");

    // Everything is in the log, as after a crash, and the log is damaged.
    let (source, crashed) = (Data::new(), Data::new());
    source.tool(&["import", &source.write("lines", LINES)]).succeeded();
    let writer = rusqlite::Connection::open(source.file("rooms.db")).unwrap();
    writer.execute_batch("UPDATE messages SET time = time + 1").unwrap();
    std::fs::copy(source.file("rooms.db"), crashed.file("rooms.db")).unwrap();
    let mut log = std::fs::read(source.file("rooms.db-wal")).unwrap();
    crashed.write("rooms.db-wal", &log);
    let said = served(crashed.0.path());
    assert!(!said.contains(CHECK), "the log is read: {said}");
    std::fs::copy(source.file("rooms.db"), crashed.file("rooms.db")).unwrap();
    log[..64].fill(0xa5);
    crashed.write("rooms.db-wal", &log);
    let said = served(crashed.0.path());
    assert!(said.contains("nothing could be read") && said.contains(CHECK), "{said}");
}

/// Whatever others may do by default.
#[test]
fn what_is_written_is_for_its_owner_alone() {
    let folder = TempDir::new();
    let place = |name: &str| format!("{}/{name}", folder.path());
    std::fs::create_dir(folder.path()).unwrap();
    std::fs::write(place("lines"), LINES).unwrap();
    let data = place("data/here");
    served(&data);
    for tool in
        [&["import", &place("lines")][..], &["backup", &place("copy.db")], &["export", "--out", &place("all.jsonl")]]
    {
        roomcast(&[tool, &["--data-dir", &data]].concat()).succeeded();
    }
    let mut seen = Vec::new();
    let mut left = vec![place("data"), place("copy.db"), place("all.jsonl")];
    while let Some(path) = left.pop() {
        let found = std::fs::metadata(&path).unwrap();
        let mode = found.permissions().mode() & 0o777;
        assert_eq!(mode, if found.is_dir() { 0o700 } else { 0o600 }, "{path} {mode:o}");
        if found.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap().flatten();
            left.extend(entries.map(|entry| entry.path().to_str().unwrap().to_owned()));
        }
        seen.push(path);
    }
    for name in ["rooms.db", "rooms.db.lock", "logs", "copy.db"] {
        assert!(seen.iter().any(|path| path.ends_with(name)), "{name}: {seen:?}");
    }
    // Where none of it was said by the command line, as in a program of another's own.
    let database = place("library/rooms.db");
    let store = roomcast::store::SqliteStore::open(&database).unwrap();
    roomcast::store::Store::begin(&store).unwrap();
    for (path, expected) in [(place("library"), 0o700), (database.clone(), 0o600), (format!("{database}-wal"), 0o600)] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, expected, "{path}");
    }
}

/// The password may hold anything, and be written as it should not be.
#[test]
fn no_part_of_a_password_is_shown() {
    for (url, is_read) in [
        ("postgresql://chat:Pa@ssw0rd@127.0.0.1:1/rooms", false),
        ("postgresql://chat:Pa/ssw0rd@127.0.0.1:1/rooms", false),
        ("postgresql://chat:1?ssw0rd@127.0.0.1:1/rooms", false),
        ("postgresql://chat:ssw0rd@127.0.0.1:1/rooms", true),
        ("host=127.0.0.1 port=1 user=chat password=ssw0rd dbname=rooms", true),
    ] {
        let file = TempFile::new("chat.toml", &format!("[storage]\ntype = \"postgresql\"\nurl = \"{url}\"\n"));
        let shown = roomcast(&["config", "show", file.path()]);
        assert_eq!(shown.status.code(), Some(0));
        let tool = roomcast(&["export", "--config", file.path()]);
        assert_eq!(tool.status.code(), Some(1));
        let said = [text(&shown.stdout), text(&shown.stderr), text(&tool.stderr)].concat();
        assert!(!said.contains("ssw0rd") && !said.contains("Pa"), "{url}: {said}");
        if cfg!(feature = "postgres") && is_read {
            assert!(said.contains("the database rooms of the PostgreSQL server at 127.0.0.1:1"), "{said}");
        }
    }
}
