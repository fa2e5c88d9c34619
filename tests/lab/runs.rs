//! Short runs of everything that can be turned; the counts and checks must be right, whatever the speed.

use roomcast_lab::measure::once;
use roomcast_lab::network::Server;
use roomcast_lab::result::Run;
use roomcast_lab::scenario::parse;
use roomcast_lab::watch::Nobody;

fn run(text: &str) -> Run {
    let scenario = parse(&format!("name = \"test\"\nseconds = 0.2\nwarmup = 0.05\n{text}"), &[]).expect("a scenario");
    let mut server = Server::default();
    server.program = Some(env!("CARGO_BIN_EXE_roomcast").into());
    once(&scenario, &server, &mut Nobody::default()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

#[track_caller]
fn assert_right(run: &Run) {
    assert!(run.checks.is_clean(), "{:?}", run.checks);
    assert!(run.published > 0 && run.seconds > 0.0);
    assert_eq!(
        run.timeline.last().map(|(_, published, delivered)| (*published, *delivered)),
        Some((run.published, run.delivered))
    );
}

#[test]
fn subscribers_receive_everything_however_they_wait_and_read() {
    for wait in ["spin", "blocking", "park", "handler"] {
        for read in ["ref", "clone", "arc"] {
            let run = run(&format!(
                "[load]\nsubscribers = 7\nrooms = 2\nmessages = 16\nwait = \"{wait}\"\nread = \"{read}\""
            ));
            assert_right(&run);
            assert_eq!((run.delivered, run.expected), (run.published * 7, run.published * 7), "{wait} {read}");
            assert_eq!((run.checks.subscribers, run.lagged, run.dropped), (14, 0, 0));
            assert!(run.latency.count > 0 && run.latency.p50 <= run.latency.p99 && run.latency.p99 <= run.latency.max);
            assert_eq!(run.fairness.map(|fairness| (fairness.min, fairness.jain)), Some((1.0, 1.0)));
        }
    }
}

#[test]
fn a_schedule_is_kept_and_every_message_is_timed() {
    let run = run(
        "drive = \"open\"\narrivals = \"poisson\"\n[load]\nsubscribers = 3\nrate = 500\nconcurrent = 2\npublishers = 4",
    );
    assert_right(&run);
    assert_eq!(run.offered_rate, Some(500.0));
    assert_eq!((run.delivered, run.latency.count), (run.published * 3, run.published * 3));
}

#[test]
fn those_who_come_and_go_are_checked_too() {
    for wait in ["spin", "handler"] {
        let run = run(&format!("[load]\nsubscribers = 3\nchurners = 5\npublishers = 2\nrooms = 2\nwait = \"{wait}\""));
        assert_right(&run);
        assert!(run.joins > 0 && run.join_latency.is_some_and(|latency| latency.count == run.joins), "{wait}");
        assert!(run.checks.subscribers > 6 + 5, "each visit has books of its own: {:?}", run.checks);
    }
}

#[test]
fn who_falls_behind_is_told_or_waited_for() {
    let lagging = run("[load]\nsubscribers = 4\nslow = 0.5\nslow_ms = 20\ncapacity = 16\nwait = \"spin\"");
    assert_right(&lagging);
    assert!(lagging.lagged > 0, "two of four read 64 messages in 20 ms at most");
    let newest = run(
        "drive = \"open\"\n[load]\nsubscribers = 2\nrate = 50000\nmessages = 500\ncapacity = 16\nwait = \"spin\"\npolicy = \"latest\"",
    );
    assert_right(&newest);
    let blocked = run("[load]\nsubscribers = 2\ncapacity = 16\nmessages = 200\nwait = \"spin\"\npolicy = \"block\"");
    assert_right(&blocked);
    assert_eq!((blocked.lagged, blocked.delivered), (0, blocked.published * 2));
}

#[test]
fn many_brokers_and_many_rooms_are_served() {
    let run = run("[load]\nbrokers = 3\nrooms = 20\nsubscribers = 2\nhot = 0.5\nshards = 1");
    assert_right(&run);
    assert_eq!((run.delivered, run.checks.subscribers), (run.published * 2, 120));
}

#[test]
fn connections_receive_everything_in_both_encodings() {
    for encoding in ["json", "protobuf"] {
        let run = run(&format!(
            "target = \"network\"\n[load]\nsubscribers = 5\nrooms = 3\npublishers = 2\nencoding = \"{encoding}\""
        ));
        assert_right(&run);
        assert_eq!((run.delivered, run.expected), (run.published * 5, run.published * 5), "{encoding}");
        assert_eq!((run.checks.subscribers, run.lagged), (15, 0));
        assert!(run.cpu.target_seconds.is_some_and(|seconds| seconds > 0.0) && run.memory.resident_end > 0);
    }
}

#[test]
fn connections_that_break_recover_what_they_missed() {
    let run = run("target = \"network\"\ndrive = \"open\"\n[load]\nsubscribers = 20\nrate = 200\nstorms = 2");
    assert_right(&run);
    assert_eq!((run.delivered, run.lagged), (run.published * 20, 0));
    assert!(run.reconnects >= 20, "{}", run.reconnects);
}

#[test]
fn connections_that_come_and_go_or_read_slowly_are_checked_too() {
    let run = run(
        "target = \"network\"\n[load]\nsubscribers = 10\nslow = 0.2\nslow_ms = 50\nchurners = 4\nrooms = 2\nsize = 1000",
    );
    assert_right(&run);
    assert!(run.joins > 0);
    assert!(run.checks.subscribers > 20 + 4, "{:?}", run.checks);
    assert_eq!(run.delivered, run.published * 8);
}
