//! The checker: what one subscriber received, and what was wrong with it.

/// The delivery checker of one subscriber: everything that was published comes once, in order, or somebody tells that it is gone.
///
/// Two numbers are followed: that of the room, which goes up by one from message to message, and that of each publisher,
/// which stands in the message. A gap is a loss unless somebody told of it.
///
/// ```
/// use roomcast_lab::load::DeliveryChecker;
///
/// let mut checker = DeliveryChecker::from_the_start(1);
/// checker.receive(0, 0, None);
/// checker.miss(2);
/// checker.receive(0, 3, None);
/// checker.close(Some(4));
/// assert_eq!((checker.received(), checker.missed(), checker.complaint()), (2, 2, None));
///
/// checker.receive(0, 3, None);
/// assert_eq!(checker.wrong().duplicates, 1);
/// ```
#[derive(Clone, Debug)]
pub struct DeliveryChecker {
    /// What each publisher of the room says next; [`UNKNOWN`] for who joined later.
    sources: Box<[u64]>,
    /// What the room says next.
    number: u64,
    received: u64,
    missed: u64,
    conflated: u64,
    /// Whether newer messages may replace older ones.
    is_latest: bool,
    /// Whether it cannot be told how many messages there were.
    is_incomplete: bool,
    /// Messages told of as missed that no gap has shown yet: in the room's numbers, in the publishers'.
    told: [u64; 2],
    lost: [u64; 2],
    order_violations: u64,
    duplicates: u64,
    first: Option<String>,
}

/// What was wrong with what a subscriber received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wrong {
    /// Messages that came when later ones had come.
    pub order_violations: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Messages that never came, and nobody told that they are gone.
    pub losses: u64,
    /// What was found first, in words.
    pub first: Option<String>,
}

/// No message yet.
const UNKNOWN: u64 = u64::MAX;

impl DeliveryChecker {
    /// Of a subscriber that is there before anything is published, by so many publishers.
    #[must_use]
    pub fn from_the_start(sources: usize) -> Self {
        Self::new(sources, 0)
    }

    /// Of one that joins while messages are published.
    #[must_use]
    pub fn from_now(sources: usize) -> Self {
        Self::new(sources, UNKNOWN)
    }

    /// Of one that comes back to a room of one publisher, having had everything before that message.
    #[must_use]
    pub fn resumed(sequence: u64) -> Self {
        Self { received: sequence, ..Self::new(1, sequence) }
    }

    fn new(sources: usize, next: u64) -> Self {
        Self {
            sources: vec![next; sources].into_boxed_slice(),
            number: UNKNOWN,
            received: 0,
            missed: 0,
            conflated: 0,
            is_latest: false,
            is_incomplete: false,
            told: [0; 2],
            lost: [0; 2],
            order_violations: 0,
            duplicates: 0,
            first: None,
        }
    }

    /// Expects that number of the room next, where the room tells numbers; without this, the first one that comes is right.
    #[must_use]
    pub fn numbered_from(mut self, number: u64) -> Self {
        self.number = number;
        self
    }

    /// From here on it is of one that wants the newest only.
    pub fn keep_latest(&mut self) {
        self.is_latest = true;
    }

    /// Enters a message: whose it is, which one of theirs, and the room's number of it where that is known.
    #[inline]
    pub fn receive(&mut self, source: usize, sequence: u64, number: Option<u64>) {
        self.received += 1;
        if let Some(number) = number {
            if number != self.number && self.number != UNKNOWN && !self.jump(number, self.number, 0) {
                return;
            }
            self.number = number + 1;
        }
        let Some(&next) = self.sources.get(source) else {
            self.order_violations += 1;
            self.note(|| format!("a message of publisher {source}, who does not publish here"));
            return;
        };
        if sequence == next || next == UNKNOWN || self.jump(sequence, next, 1) {
            self.sources[source] = sequence + 1;
        }
    }

    /// Something else than what was expected; whether it came forward.
    #[cold]
    fn jump(&mut self, found: u64, expected: u64, which: usize) -> bool {
        if found < expected {
            self.received -= 1;
            if found + 1 == expected {
                self.duplicates += 1;
                self.note(|| format!("message {found} came twice"));
            } else {
                self.order_violations += 1;
                self.lost[which] = self.lost[which].saturating_sub(1);
                self.note(|| format!("message {found} came when {expected} was next"));
            }
            return false;
        }
        let gap = found - expected;
        if self.is_latest {
            if which == 1 {
                self.conflated += gap;
            }
            return true;
        }
        let told = gap.min(self.told[which]);
        self.told[which] -= told;
        if gap > told {
            self.lost[which] += gap - told;
            self.note(|| {
                format!("message {found} came when {expected} was next, and nobody told of {} missed", gap - told)
            });
        }
        true
    }

    /// Enters that so many messages were missed, as somebody told.
    pub fn miss(&mut self, count: u64) {
        self.missed += count;
        self.told[0] += count;
        self.told[1] += count;
    }

    /// From here on nobody knows what there was to be received: it begins anew.
    pub fn lose_track(&mut self) {
        self.number = UNKNOWN;
        self.sources.fill(UNKNOWN);
        self.is_incomplete = true;
    }

    /// Something else that was wrong: so many messages are lost.
    pub fn lose(&mut self, count: u64, why: impl FnOnce() -> String) {
        self.lost[0] += count;
        self.note(why);
    }

    /// Messages received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Messages told as missed.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Messages that newer ones replaced.
    #[must_use]
    pub fn conflated(&self) -> u64 {
        self.conflated
    }

    /// Messages of so many that have not come and were not told as missed.
    #[must_use]
    pub fn behind(&self, published: u64) -> u64 {
        let accounted = self.received + self.missed + self.conflated;
        if self.is_incomplete { 0 } else { published.saturating_sub(accounted + self.lost[0].max(self.lost[1])) }
    }

    /// Says that no more will come; with the number of messages there were to be received, where that is known.
    pub fn close(&mut self, expected: Option<u64>) {
        let Some(expected) = expected.filter(|_| !self.is_incomplete) else { return };
        let accounted = self.received + self.missed + self.conflated;
        if self.is_latest && accounted < expected {
            // What came before the newest was replaced as well.
            self.conflated += expected - accounted;
        } else if accounted < expected {
            let missing = expected - accounted;
            self.lost[0] = self.lost[0].max(missing);
            self.note(|| format!("{missing} of {expected} messages never came"));
        } else if accounted > expected {
            self.duplicates += accounted - expected;
            self.note(|| format!("{accounted} messages of {expected} came"));
        }
    }

    /// What was wrong so far.
    #[must_use]
    pub fn wrong(&self) -> Wrong {
        Wrong {
            order_violations: self.order_violations,
            duplicates: self.duplicates,
            losses: self.lost[0].max(self.lost[1]),
            first: self.first.clone(),
        }
    }

    /// What was wrong first, if anything was.
    #[inline]
    #[must_use]
    pub fn complaint(&self) -> Option<&str> {
        self.first.as_deref()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.first.get_or_insert_with(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(mut checker: DeliveryChecker, expected: Option<u64>) -> (u64, u64, u64) {
        checker.close(expected);
        let wrong = checker.wrong();
        let counts = (wrong.order_violations, wrong.duplicates, wrong.losses);
        assert_eq!(checker.complaint().is_some(), counts != (0, 0, 0), "what is wrong is said");
        counts
    }

    fn received(stamps: &[(usize, u64, u64)]) -> DeliveryChecker {
        let mut checker = DeliveryChecker::from_the_start(2);
        stamps.iter().for_each(|&(source, sequence, number)| checker.receive(source, sequence, Some(number)));
        checker
    }

    #[test]
    fn what_is_right_is_clean() {
        assert_eq!(checks(received(&[(0, 0, 5), (1, 0, 6), (0, 1, 7)]), Some(3)), (0, 0, 0));
        let mut late = DeliveryChecker::from_now(1);
        [(40, 7), (41, 8)].iter().for_each(|&(sequence, number)| late.receive(0, sequence, Some(number)));
        assert_eq!(checks(late, None), (0, 0, 0));
    }

    #[test]
    fn a_message_that_comes_twice_is_found() {
        assert_eq!(checks(received(&[(0, 0, 5), (0, 0, 5)]), Some(1)), (0, 1, 0));
        assert_eq!(checks(received(&[(0, 0, 5), (0, 0, 6)]), Some(1)), (0, 1, 0), "under a new number as well");
    }

    #[test]
    fn a_message_that_comes_late_is_found() {
        let (order_violations, duplicates, losses) = checks(received(&[(0, 0, 5), (0, 2, 7), (0, 1, 6)]), None);
        assert_eq!((order_violations, duplicates), (1, 0));
        assert!(losses <= 1, "what was taken for lost may stay so in the publisher's numbers");
    }

    #[test]
    fn a_message_that_is_lost_is_found() {
        assert_eq!(checks(received(&[(0, 0, 5), (0, 2, 7)]), Some(3)), (0, 0, 1));
        assert_eq!(checks(received(&[(0, 0, 5), (0, 2, 6)]), Some(3)), (0, 0, 1), "though the room's numbers hide it");
        assert_eq!(checks(received(&[(0, 0, 5)]), Some(2)), (0, 0, 1), "when nothing comes after it");
    }

    #[test]
    fn a_loss_that_was_told_is_none() {
        let mut checker = received(&[(0, 0, 5)]);
        checker.miss(2);
        checker.receive(0, 3, Some(8));
        assert_eq!((checker.received(), checker.missed()), (2, 2));
        assert_eq!(checks(checker.clone(), Some(4)), (0, 0, 0));
        checker.receive(0, 5, Some(10));
        assert_eq!(checks(checker, Some(6)), (0, 0, 1));
    }

    #[test]
    fn who_wants_the_newest_loses_nothing() {
        let mut checker = DeliveryChecker::from_the_start(1);
        checker.keep_latest();
        [(2, 2), (7, 7)].iter().for_each(|&(sequence, number)| checker.receive(0, sequence, Some(number)));
        checker.close(Some(9));
        assert_eq!((checker.received(), checker.conflated()), (2, 7));
        assert_eq!(checks(checker, Some(9)), (0, 0, 0));
    }

    #[test]
    fn several_publishers_are_kept_apart() {
        let stamps = [(1, 0, 1), (0, 0, 2), (1, 1, 3), (0, 1, 4), (1, 2, 5)];
        assert_eq!(checks(received(&stamps), Some(5)), (0, 0, 0));
        assert_eq!(checks(received(&stamps), Some(6)), (0, 0, 1), "the last one is missing");
        let mut checker = received(&stamps);
        checker.receive(2, 0, None);
        assert_eq!(checker.wrong().order_violations, 1, "nobody with that number publishes here");
    }

    #[test]
    fn the_first_number_of_a_room_may_be_known() {
        let mut checker = DeliveryChecker::from_the_start(1).numbered_from(1);
        checker.receive(0, 0, Some(2));
        assert_eq!(checks(checker, None), (0, 0, 1));
        let mut resumed = DeliveryChecker::resumed(7).numbered_from(8);
        resumed.receive(0, 7, Some(8));
        assert_eq!(checks(resumed, Some(8)), (0, 0, 0));
    }

    #[test]
    fn a_loss_that_is_told_and_was_none_is_found() {
        let mut checker = received(&[(0, 0, 1)]);
        checker.miss(4);
        assert_eq!(checks(checker.clone(), Some(5)), (0, 0, 0), "nothing came after the loss");
        checker.receive(0, 5, Some(6));
        assert_eq!(checks(checker.clone(), Some(6)), (0, 0, 0));
        checker.miss(1);
        assert_ne!(checks(checker, Some(6)), (0, 0, 0));
    }
}
