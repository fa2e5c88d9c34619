//! Bad input leaves nothing behind: live heap bytes of the whole process, before and after.
//!
//! The allocator counts for all threads, so the test runs itself again, alone in a process of its own.

use std::env;
use std::process::Command;

use crate::ALLOCATOR;
use crate::bad_input::cases;
use crate::harness::{Running, eventually};

const REPETITIONS: usize = 1_000;
const GROWTH_BYTES_MAX: usize = 1024 * 1024;

const NAME: &str = "heap::a_thousand_bad_clients_leave_the_heap_as_it_was";
/// Set in the process that measures.
const ALONE: &str = "ROOMCAST_TEST_ALONE";

#[test]
fn a_thousand_bad_clients_leave_the_heap_as_it_was() {
    if env::var_os(ALONE).is_some() {
        return measure();
    }
    let this = env::current_exe().expect("the path of the tests");
    let run = Command::new(this).args(["--exact", NAME]).env(ALONE, "1").output().expect("a second process");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("1 passed"), "it ran nothing: {said}");
}

fn measure() {
    let server = Running::start();
    let cases = cases();
    let run = |repetitions: usize| {
        for (_, connected, bytes, code) in cases.iter().cycle().take(repetitions) {
            let mut client = match connected {
                true => server.member("Eve", "hall"),
                false => server.client(),
            };
            client.send_raw(bytes);
            assert_eq!(client.closed().0, *code);
        }
        eventually("the last one is gone", || {
            server.metric("roomcast_connections{") == 0 && server.metric("roomcast_sockets") == 1
        });
        ALLOCATOR.allocated()
    };
    // What is kept for good (buffers of shards, counters by code, the room) is there after one of each, many times over.
    let before = run(10 * cases.len());
    let after = run(REPETITIONS);
    let growth = after.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more after {REPETITIONS} bad clients");
}
