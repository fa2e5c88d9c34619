//! Rooms that a PostgreSQL server keeps go from one process to the next.

use std::process::{Output, Stdio};

use crate::crash::Process;
use crate::harness::{Client, Folder, eventually, number, text};
use crate::postgres_process::{PASSWORD, Postgres};

const ROOMS: [&str; 2] = ["stored:hall", "async:hall"];

/// The lock of whoever writes: "roomcast".
const LOCK: i64 = 0x726f_6f6d_6361_7374;

/// A member, and where it stands.
struct Member {
    room: &'static str,
    client: Client,
    epoch: String,
    offset: u64,
}

impl Member {
    /// Comes into a room, or back to where it was.
    fn comes(process: &Process, room: &'static str, before: Option<&Self>) -> Self {
        let mut client = process.connected();
        let recover = before
            .map_or_else(String::new, |it| format!(r#","recover":true,"offset":{},"epoch":"{}""#, it.offset, it.epoch));
        client.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{room}"{recover}}}}}"#));
        let reply = client.reply(2)["subscribe"].clone();
        if let Some(before) = before {
            assert_eq!(reply["recovered"], true, "{room}: {reply}");
            assert_eq!(reply["epoch"], before.epoch.as_str());
        }
        Self { room, client, epoch: text(&reply["epoch"]).to_owned(), offset: number(&reply["offset"]) }
    }

    fn hears(&mut self, data: u64) {
        let publication = self.client.publication();
        assert_eq!(publication["data"], data);
        assert_eq!(number(&publication["offset"]), self.offset + 1, "{}", self.room);
        self.offset += 1;
    }
}

fn config(database: &Postgres) -> String {
    let url = database.url("rooms", PASSWORD);
    format!(
        r#"
[handover]
close_rate = 10000
[storage]
type = "postgresql"
url = "{url}"
[[channel.namespaces]]
name = "stored"
storage = "stored"
history_size = 1000
[[channel.namespaces]]
name = "async"
storage = "async"
history_size = 1000
"#
    )
}

/// One server for all of it, since making one takes longer than the rest.
#[test]
fn rooms_of_a_postgresql_server_go_on_in_the_next_process() {
    let (place, folder) = (Folder::new(), Folder::new());
    let mut database = Postgres::make(&place.0);
    database.run(&["-c", "listen_addresses="]);
    let asked =
        |name: &str, statement: &str| -> Output { database.asked(name, statement).output().expect("psql runs") };
    eventually("the server answers", || asked("postgres", "SELECT 1").status.success());
    assert!(asked("postgres", "CREATE DATABASE rooms").status.success());

    let config = config(&database);
    let mut process = Process::start_by(&folder, &config, &[]);
    let mut members = ROOMS.map(|room| Member::comes(&process, room, None));
    for round in 0..3_u64 {
        let mut speaker = process.connected();
        for member in &mut members {
            speaker.publish(2, member.room, &round.to_string());
            member.hears(round);
        }
        // Whoever waits for the lock has it as soon as the old process lets go, and the new one comes too late at first.
        let late = (round == 1).then(|| {
            let statement = format!("SELECT pg_advisory_lock({LOCK}); SELECT pg_sleep(2)");
            let late = database.asked("rooms", &statement).stdout(Stdio::null()).spawn().expect("psql runs");
            let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            eventually("it waits", || asked("rooms", waiting).stdout == b"1\n");
            late
        });
        let next = process.taken_over(&folder, &config);
        members = members.map(|mut member| {
            assert_eq!(member.client.closed().0, 3001);
            Member::comes(&next, member.room, Some(&member))
        });
        process.ends();
        if let Some(mut late) = late {
            assert!(late.wait().expect("an end").success());
        }
        process = next;
    }
    let mut reader = process.connected();
    for room in ROOMS {
        reader.send(&format!(r#"{{"id":2,"history":{{"channel":"{room}","limit":100}}}}"#));
        let reply = reader.reply(2);
        let all = reply["history"]["publications"].as_array().cloned().unwrap_or_default();
        let said: Vec<_> = all.iter().map(|it| it["data"].as_u64()).collect();
        assert_eq!(said, [Some(0), Some(1), Some(2)], "{room}");
    }
}
