//! Many commands at once, of which others are not to notice much.

use super::{Harness, dev_settings, error_of};
use crate::session::Action;
use crate::session::work::WORK_PER_TURN;
use roomcast_protocol::ErrorCode;

const COMMANDS: u32 = 1_000;

/// So many commands of one kind, from that id on.
fn frame(first: u32, command: &str) -> String {
    (first..first + COMMANDS).map(|id| format!("{{\"id\":{id},{command}}}\n")).collect()
}

/// Of each turn, how many actions it led to; completed at once where they must be, with so many members where these are asked for.
fn turns(harness: &mut Harness, command: &str, members: usize) -> Vec<usize> {
    let mut turns = Vec::new();
    let members = vec![harness.session.info().cloned().expect("it has connected"); members];
    harness.session.begin_turn();
    harness.send(&frame(2, command));
    loop {
        let mut done = 0;
        loop {
            let actions = harness.actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                done += 1;
                let out = &mut harness.actions;
                match action {
                    Action::Publish { ticket, .. } => harness.session.published(ticket, Ok(()), out),
                    Action::Presence { ticket, .. } => harness.session.presence(ticket, Ok(members.clone()), out),
                    _ => done -= usize::from(!matches!(action, Action::Reply(_))),
                }
            }
        }
        turns.push(done);
        if !harness.session.waits_for_turn() {
            assert!(harness.session.wants_frames());
            return turns;
        }
        assert!(!harness.session.wants_frames(), "it is heard no further");
        harness.session.begin_turn();
        harness.session.go_on(harness.now_ms, &mut harness.actions);
    }
}

#[test]
fn a_frame_of_many_commands_takes_many_turns() {
    let at_once = usize::from(WORK_PER_TURN);
    for (command, each, actions) in [
        (r#""rpc":{"method":"none"}"#, 1, 1),
        (r#""publish":{"channel":"hall","data":1}"#, 1, 2),
        (r#""ping":{}"#, 1, 1),
        (r#""presence":{"channel":"hall"}"#, 8, 2),
        (r#""history":{"channel":"none:1"}"#, 8, 1),
        (r#""sub_refresh":{"channel":"hall","token":"x"}"#, 16, 1),
    ] {
        let mut harness = Harness::connected_with(dev_settings());
        if command.contains("presence") {
            harness.join("hall");
        }
        let turns = turns(&mut harness, command, 0);
        assert_eq!(turns.iter().sum::<usize>(), COMMANDS as usize * actions, "{command}");
        assert!(turns.iter().all(|turn| *turn <= at_once / each * actions), "{command}: {turns:?}");
        assert_eq!(turns.len(), (COMMANDS as usize * each).div_ceil(at_once), "{command}");
    }
}

#[test]
fn who_is_told_much_is_told_little_at_once() {
    for (members, at_once) in [(100, 5), (1_000, 1)] {
        let mut harness = Harness::connected_with(dev_settings());
        harness.join("hall");
        let turns = turns(&mut harness, r#""presence":{"channel":"hall"}"#, members);
        assert!(turns.iter().all(|turn| *turn <= 2 * at_once + 1), "{members}: {turns:?}");
        assert!(turns.len() >= COMMANDS as usize / at_once - 1, "{members}: {} turns", turns.len());
    }
}

#[test]
fn commands_that_wait_for_a_turn_are_answered_in_their_order() {
    let mut harness = Harness::connected();
    harness.session.begin_turn();
    harness.send(&frame(2, r#""rpc":{"method":"none"}"#));
    let mut heard = harness.heard();
    while harness.session.waits_for_turn() {
        harness.session.begin_turn();
        harness.session.go_on(harness.now_ms, &mut harness.actions);
        heard.extend(harness.heard());
    }
    let expected = (2..2 + COMMANDS).map(|id| error_of(id, ErrorCode::NotAvailable));
    assert_eq!(heard, expected.collect::<Vec<_>>());
}

#[test]
fn who_breaks_the_protocol_behind_them_is_answered_first_and_closed_then() {
    let mut harness = Harness::connected();
    harness.session.begin_turn();
    harness.send(&format!("{}no command", frame(2, r#""ping":{}"#)));
    let mut heard = harness.heard();
    while harness.session.waits_for_turn() {
        assert!(!harness.session.is_closed());
        harness.session.begin_turn();
        harness.session.go_on(harness.now_ms, &mut harness.actions);
        heard.extend(harness.heard());
    }
    assert_eq!((heard.len(), heard.pop()), (COMMANDS as usize + 1, Some("close 3501".to_owned())));
}
