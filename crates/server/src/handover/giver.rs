//! What the process that has the rooms does when, told what has happened: a state machine without I/O.
//!
//! Until the new process has said [`Message::Go`] nothing has been given away, and whatever goes wrong is undone. From there on this
//! process never serves again.

use super::message::{Message, VERSION};

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The new process has said that.
    Heard(Message),
    /// It is gone, or says nothing in time, or nothing that is a message.
    Lost,
    /// What was asked for last is done.
    Done,
    /// It could not be done.
    Failed,
    /// It was not done, because the server is ending.
    Ends,
    /// It was not begun, because a configuration is being taken over.
    Reloads,
}

/// What is to be done next; then it is said what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Listen to what the new process says.
    Listen,
    /// Tell it which sockets there are, and listen.
    Welcome,
    /// Accept nothing any more, and finish what was accepted.
    Settle,
    /// Say that this is done, and listen.
    SaySettled,
    /// Let go of the database and of the log of events.
    Release,
    /// Give the sockets.
    GiveSockets,
    /// Give the rooms.
    GiveRooms,
    /// Wait until the new process serves.
    Await,
    /// Over.
    End(Outcome),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was done; it is said why.
    Refused(Refusal),
    /// It had settled, and is to go on as before.
    Thawed(Refusal),
    /// The new process serves: its clients are to go there.
    HandedOver,
    /// Everything is given away, and nobody is there to serve it.
    Orphaned,
}

/// Why the new process does not get anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It speaks another version.
    Version(u16),
    /// It was lost, or said what nobody expected.
    Lost,
    /// What was under way did not end in time.
    NotSettled,
    /// A configuration was being taken over all that time.
    Reloads,
    /// The server is ending.
    Ends,
}

/// Where the conversation is.
#[derive(Debug)]
pub(crate) struct Giver(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begun,
    Welcomed,
    Settling,
    Settled,
    Releasing,
    GivingSockets,
    GivingRooms,
    Awaiting,
    Ended,
}

impl Giver {
    /// A conversation that has just begun, and what is to be done first.
    pub(crate) fn begin() -> (Self, Step) {
        (Self(State::Begun), Step::Listen)
    }

    /// What is to be done after that.
    pub(crate) fn on(&mut self, event: Event) -> Step {
        let (state, step) = match (self.0, event) {
            (State::Begun, Event::Heard(Message::Hello { version: VERSION, .. })) => (State::Welcomed, Step::Welcome),
            (State::Begun, Event::Heard(Message::Hello { version, .. })) => {
                (State::Ended, Step::End(Outcome::Refused(Refusal::Version(version))))
            }
            (State::Welcomed, Event::Heard(Message::Ready)) => (State::Settling, Step::Settle),
            (State::Begun | State::Welcomed, _) => (State::Ended, Step::End(Outcome::Refused(Refusal::Lost))),
            (State::Settling, Event::Done) => (State::Settled, Step::SaySettled),
            (State::Settling, Event::Failed) => (State::Ended, Step::End(Outcome::Thawed(Refusal::NotSettled))),
            (State::Settling, Event::Reloads) => (State::Ended, Step::End(Outcome::Thawed(Refusal::Reloads))),
            (State::Settled, Event::Heard(Message::Go)) => (State::Releasing, Step::Release),
            // The server ends: it keeps what it has.
            (State::Settling | State::Releasing, Event::Ends) => {
                (State::Ended, Step::End(Outcome::Thawed(Refusal::Ends)))
            }
            (State::Settling | State::Settled, _) => (State::Ended, Step::End(Outcome::Thawed(Refusal::Lost))),
            // What could not be stored is not there for the new process, and would not be there for this one.
            (State::Releasing, Event::Done | Event::Failed) => (State::GivingSockets, Step::GiveSockets),
            (State::GivingSockets, Event::Done) => (State::GivingRooms, Step::GiveRooms),
            (State::GivingRooms, Event::Done) => (State::Awaiting, Step::Await),
            // It opens the database.
            (State::Awaiting, Event::Heard(Message::Working)) => (State::Awaiting, Step::Await),
            (State::Awaiting, Event::Heard(Message::Serves)) => (State::Ended, Step::End(Outcome::HandedOver)),
            _ => (State::Ended, Step::End(Outcome::Orphaned)),
        };
        self.0 = state;
        step
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELLO: Event = Event::Heard(Message::Hello { version: VERSION, reads_notes: true });

    fn told(events: &[Event]) -> Step {
        let (mut giver, mut step) = Giver::begin();
        for event in events {
            step = giver.on(event.clone());
        }
        step
    }

    /// All that is told where everything goes well.
    fn well() -> Vec<Event> {
        let heard = Event::Heard;
        vec![
            HELLO,
            heard(Message::Ready),
            Event::Done,
            heard(Message::Go),
            Event::Done,
            Event::Done,
            Event::Done,
            heard(Message::Serves),
        ]
    }

    #[test]
    fn everything_goes_well() {
        let steps: Vec<_> = (0..=well().len()).map(|end| told(&well()[..end])).collect();
        let expected = [
            Step::Listen,
            Step::Welcome,
            Step::Settle,
            Step::SaySettled,
            Step::Release,
            Step::GiveSockets,
            Step::GiveRooms,
            Step::Await,
            Step::End(Outcome::HandedOver),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn who_is_lost_before_it_says_go_changes_nothing_and_afterwards_nobody_serves() {
        use Outcome::{Orphaned, Refused, Thawed};
        let outcomes: Vec<_> = (0..well().len())
            .map(|end| told(&[&well()[..end], &[Event::Lost]].concat()))
            .map(|step| if let Step::End(outcome) = step { outcome } else { panic!("{step:?}") })
            .collect();
        let [refused, thawed] = [Refused(Refusal::Lost), Thawed(Refusal::Lost)];
        assert_eq!(outcomes, [refused, refused, thawed, thawed, Orphaned, Orphaned, Orphaned, Orphaned]);
    }

    #[test]
    fn another_version_is_refused_before_anything_happens() {
        let step = told(&[Event::Heard(Message::Hello { version: VERSION + 1, reads_notes: true })]);
        assert_eq!(step, Step::End(Outcome::Refused(Refusal::Version(VERSION + 1))));
    }

    #[test]
    fn what_does_not_settle_goes_on() {
        let step = told(&[HELLO, Event::Heard(Message::Ready), Event::Failed]);
        assert_eq!(step, Step::End(Outcome::Thawed(Refusal::NotSettled)));
    }

    #[test]
    fn a_server_that_ends_before_it_lets_go_keeps_what_it_has_and_says_why() {
        for end in [2, 4] {
            let step = told(&[&well()[..end], &[Event::Ends]].concat());
            assert_eq!(step, Step::End(Outcome::Thawed(Refusal::Ends)), "after {end}");
        }
    }

    #[test]
    fn a_server_that_takes_a_configuration_over_says_so() {
        let step = told(&[&well()[..2], &[Event::Reloads]].concat());
        assert_eq!(step, Step::End(Outcome::Thawed(Refusal::Reloads)));
    }

    #[test]
    fn who_opens_the_database_is_waited_for_and_whoever_says_so_before_is_not() {
        let working = Event::Heard(Message::Working);
        let opening = [&well()[..7], &[working.clone(), working.clone()]].concat();
        assert_eq!(told(&opening), Step::Await);
        assert_eq!(told(&[opening.as_slice(), &well()[7..]].concat()), Step::End(Outcome::HandedOver));
        assert_eq!(told(&[opening.as_slice(), &[Event::Lost]].concat()), Step::End(Outcome::Orphaned));
        assert_eq!(told(&[&well()[..3], &[working]].concat()), Step::End(Outcome::Thawed(Refusal::Lost)));
    }

    #[test]
    fn what_could_not_be_stored_is_released_all_the_same() {
        let events = [&well()[..4], &[Event::Failed]].concat();
        assert_eq!(told(&events), Step::GiveSockets);
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Lost),
            Just(Event::Done),
            Just(Event::Failed),
            Just(Event::Ends),
            Just(Event::Reloads),
            Just(Event::Heard(Message::Working)),
            Just(HELLO),
            Just(Event::Heard(Message::Ready)),
            Just(Event::Heard(Message::Go)),
            Just(Event::Heard(Message::Serves)),
            Just(Event::Heard(Message::Settled)),
        ]
    }

    proptest! {
        /// Whatever is told: nothing is released without a word of the new process, and what was released is never thawed.
        #[test]
        fn what_is_given_away_stays_so(random in proptest::collection::vec(events(), 0..20), good in 0_usize..9) {
            let (mut giver, _) = Giver::begin();
            let (mut has_settled, mut has_released) = (false, false);
            for event in well()[..good.min(8)].iter().cloned().chain(random) {
                let is_go = event == Event::Heard(Message::Go);
                // Told so, it has not let go.
                has_released &= giver.0 != State::Releasing || event != Event::Ends;
                match giver.on(event) {
                    Step::Settle => {
                        prop_assert!(!has_settled);
                        has_settled = true;
                    }
                    Step::Release => {
                        prop_assert!(is_go && has_settled && !has_released);
                        has_released = true;
                    }
                    Step::GiveSockets | Step::GiveRooms | Step::Await => prop_assert!(has_released),
                    Step::End(outcome) => {
                        let is_away = matches!(outcome, Outcome::HandedOver | Outcome::Orphaned);
                        prop_assert_eq!(is_away, has_released);
                        prop_assert_eq!(matches!(outcome, Outcome::Refused(_)), !has_settled);
                        break;
                    }
                    Step::Listen | Step::Welcome | Step::SaySettled => {}
                }
            }
        }
    }
}
