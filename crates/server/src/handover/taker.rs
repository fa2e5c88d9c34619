//! What the process that wants the rooms does when, told what has happened: a state machine without I/O.
//!
//! Before it has the sockets it changes nothing, and gives up whatever goes wrong. From there on it serves, with what it was given: nobody else
//! will.

use super::message::Message;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The old process has said that.
    Heard(Message),
    /// It is gone, or says nothing in time, or nothing that is a message.
    Lost,
    /// What was asked for last is done.
    Done,
}

/// What is to be done next; then it is said what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Say that, and listen.
    Say(Message),
    /// Go on listening: the old process is at work.
    Listen,
    /// Leave that much of the memory to the old process, and listen.
    Leave(u64),
    /// Take the places that the old process does not have.
    Prepare,
    /// Take the sockets that came with the message, and listen.
    TakeSockets,
    /// Take a record, and listen.
    TakeRooms(Vec<u8>),
    /// Serve. What was not given is not there.
    Serve { has_all: bool },
    /// The old process lost itself at a moment at which it may have let go already: begin as if it had never been there.
    StartPlainly,
    /// Leave everything as it is.
    GiveUp(Reason),
}

/// Why it does not take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The old process says so.
    Refused(String),
    /// It is gone, or says nothing in time.
    Lost,
    /// It said what nobody expected.
    Unexpected,
}

/// Where the conversation is.
#[derive(Debug)]
pub(crate) struct Taker(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeted,
    Preparing,
    Ready,
    Gone,
    HasSockets,
    Ended,
}

impl Taker {
    /// A conversation that begins, and what is to be done first.
    pub(crate) fn begin(version: u16) -> (Self, Step) {
        (Self(State::Greeted), Step::Say(Message::Hello { version, reads_notes: true }))
    }

    /// What is to be done after that.
    pub(crate) fn on(&mut self, event: Event) -> Step {
        let (state, step) = match (self.0, event) {
            (State::Greeted, Event::Heard(Message::Welcome { .. })) => (State::Preparing, Step::Prepare),
            (at @ (State::Ready | State::Gone | State::HasSockets), Event::Heard(Message::Working)) => {
                (at, Step::Listen)
            }
            (at @ (State::Gone | State::HasSockets), Event::Heard(Message::Holds(bytes))) => (at, Step::Leave(bytes)),
            (State::Preparing, Event::Done) => (State::Ready, Step::Say(Message::Ready)),
            (State::Ready, Event::Heard(Message::Settled)) => (State::Gone, Step::Say(Message::Go)),
            (State::Gone, Event::Heard(Message::Sockets)) => (State::HasSockets, Step::TakeSockets),
            (State::HasSockets, Event::Heard(Message::Rooms(record))) => (State::HasSockets, Step::TakeRooms(record)),
            (State::HasSockets, Event::Heard(Message::AllGiven)) => (State::Ended, Step::Serve { has_all: true }),
            // Sockets that cannot be taken are not there.
            (State::HasSockets, _) => (State::Ended, Step::Serve { has_all: false }),
            (State::Gone, event) if !matches!(event, Event::Heard(Message::Refused(_))) => {
                (State::Ended, Step::StartPlainly)
            }
            // Who says so, even behind the last word, has not let go of anything.
            (_, Event::Heard(Message::Refused(reason))) => (State::Ended, Step::GiveUp(Reason::Refused(reason))),
            (_, Event::Lost) => (State::Ended, Step::GiveUp(Reason::Lost)),
            (_, Event::Heard(_) | Event::Done) => (State::Ended, Step::GiveUp(Reason::Unexpected)),
        };
        self.0 = state;
        step
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::handover::message::VERSION;

    fn told(events: &[Event]) -> Step {
        let (mut taker, mut step) = Taker::begin(VERSION);
        for event in events {
            step = taker.on(event.clone());
        }
        step
    }

    fn well() -> Vec<Event> {
        let heard = Event::Heard;
        vec![
            heard(Message::Welcome { sockets: Vec::new(), timeout: Duration::ZERO, reads_notes: true }),
            Event::Done,
            heard(Message::Settled),
            heard(Message::Sockets),
            heard(Message::Rooms(vec![1])),
            heard(Message::AllGiven),
        ]
    }

    #[test]
    fn everything_goes_well() {
        let steps: Vec<_> = (0..=well().len()).map(|end| told(&well()[..end])).collect();
        let expected = [
            Step::Say(Message::Hello { version: VERSION, reads_notes: true }),
            Step::Prepare,
            Step::Say(Message::Ready),
            Step::Say(Message::Go),
            Step::TakeSockets,
            Step::TakeRooms(vec![1]),
            Step::Serve { has_all: true },
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn notes_change_nothing_and_are_for_those_who_wait() {
        let note = |message| Event::Heard(message);
        for end in 2..6 {
            let told_so = |event: Event| [&well()[..end], &[event]].concat();
            let goes_on = |events: Vec<Event>| told(&[events.as_slice(), &well()[end..]].concat());
            assert_eq!(told(&told_so(note(Message::Working))), Step::Listen, "after {end}");
            assert_eq!(goes_on(told_so(note(Message::Working))), Step::Serve { has_all: true }, "after {end}");
            if end > 2 {
                assert_eq!(told(&told_so(note(Message::Holds(7)))), Step::Leave(7), "after {end}");
                assert_eq!(goes_on(told_so(note(Message::Holds(7)))), Step::Serve { has_all: true }, "after {end}");
            }
        }
        assert_eq!(told(&[note(Message::Working)]), Step::GiveUp(Reason::Unexpected));
    }

    #[test]
    fn who_is_refused_or_lost_gives_up_until_the_old_process_may_have_let_go() {
        let refused = Event::Heard(Message::Refused("no".to_owned()));
        for end in 0..4 {
            let then = |event: &Event| told(&[&well()[..end], std::slice::from_ref(event)].concat());
            assert_eq!(then(&refused), Step::GiveUp(Reason::Refused("no".to_owned())), "after {end}");
            if end == 3 {
                // It has let go perhaps, unless it says that it has not.
                assert_eq!(then(&Event::Lost), Step::StartPlainly);
                continue;
            }
            assert_eq!(then(&Event::Lost), Step::GiveUp(Reason::Lost));
            assert_eq!(then(&Event::Heard(Message::Serves)), Step::GiveUp(Reason::Unexpected));
        }
        for end in 4..6 {
            assert_eq!(told(&[&well()[..end], &[Event::Lost]].concat()), Step::Serve { has_all: false });
        }
    }
}
