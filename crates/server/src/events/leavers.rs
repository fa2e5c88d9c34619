//! Who goes from a process that has handed the log over: it tells the next one, which writes it.

use std::collections::VecDeque;

use super::event::Reason;
use super::journal::{Change, Journal, Moved, Taken};
use crate::util::byte_reader::ByteReader;

/// Bytes of a record, beyond which there is another one.
const RECORD_BYTES: usize = 32 * 1024;
/// Bytes of a name or a reason in a record: more than any has.
const WORD_BYTES_MAX: usize = 8 * 1024;

/// Those who have gone since the log was closed.
#[derive(Debug)]
pub(crate) struct Leavers<'a> {
    journal: &'a Journal,
    taken: Taken,
    /// Taken, and in no record yet.
    rest: VecDeque<Change>,
}

impl<'a> Leavers<'a> {
    /// Of a journal that is closed, and that nobody else takes anything from.
    pub(super) fn of(journal: &'a Journal) -> Self {
        Self { journal, taken: Taken::default(), rest: VecDeque::new() }
    }

    /// What is to be told next; nothing if nobody has gone since.
    pub(crate) fn next_record(&mut self) -> Option<Vec<u8>> {
        if self.rest.is_empty() {
            self.journal.take(&mut self.taken);
            self.rest = std::mem::take(&mut self.taken.changes).into();
            self.journal.written(&mut self.taken);
        }
        let mut record = Vec::new();
        while record.len() < RECORD_BYTES
            && let Some(change) = self.rest.pop_front()
        {
            write(&change, &mut record);
        }
        (!record.is_empty()).then_some(record)
    }
}

/// Appends who has gone; of somebody who has come, which is no news any more, nothing.
fn write(change: &Change, out: &mut Vec<u8>) {
    let (Moved::Out { reason } | Moved::OutOfOther { reason }) = &change.what else { return };
    let words = [&*change.room, &*change.client, &*reason.text];
    // What is longer is told when this process ends.
    if words.iter().any(|word| word.len() > WORD_BYTES_MAX) {
        return;
    }
    out.extend_from_slice(&reason.code.to_le_bytes());
    for word in words {
        out.extend_from_slice(&(word.len() as u16).to_le_bytes());
        out.extend_from_slice(word.as_bytes());
    }
}

/// Notes those of a record in the journal of the process that has the log now; nothing where the record is none.
pub(super) fn note(record: &[u8], journal: &Journal) -> Option<()> {
    let mut rest = ByteReader::new(record);
    while !rest.is_empty() {
        let code = u16::from_le_bytes(rest.array()?);
        let [room, client, text] = [word(&mut rest)?, word(&mut rest)?, word(&mut rest)?];
        let is_hand_over = code == Reason::HAND_OVER.code && text == Reason::HAND_OVER.text;
        let reason = if is_hand_over { Reason::HAND_OVER } else { Reason { code, text: text.to_owned().into() } };
        journal.leave_other(room, client, reason);
    }
    Some(())
}

fn word<'a>(rest: &mut ByteReader<'a>) -> Option<&'a str> {
    let length = usize::from(u16::from_le_bytes(rest.array()?));
    std::str::from_utf8(rest.take(length)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events::journal::SERVER;

    fn journal() -> Journal {
        Journal::new(|| 5)
    }

    fn all(leavers: &mut Leavers<'_>) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| leavers.next_record()).collect()
    }

    /// What a journal has, in words.
    fn words(journal: &Journal) -> Vec<(String, String, Moved)> {
        let mut taken = Taken::default();
        journal.take(&mut taken);
        let words = |change: &Change| (change.room.to_string(), change.client.to_string(), change.what.clone());
        taken.changes.iter().map(words).collect()
    }

    #[test]
    fn who_goes_when_the_log_is_closed_is_told_to_the_next_process_in_that_order() {
        let (before, after) = (journal(), journal());
        before.connect("a", "ann");
        before.enter("hall", "a", "ann");
        before.enter("hall", "b", "");
        let mut written = Taken::default();
        before.take(&mut written);
        before.written(&mut written);
        before.close();
        before.enter("hall", "late", "");
        before.leave("hall", "b", Reason::UNSUBSCRIBE);
        before.leave("hall", "late", Reason::UNSUBSCRIBE);
        before.leave("hall", "a", Reason::HAND_OVER);
        before.disconnect("a", Reason { code: 3012, text: "no pong".into() });
        let mut leavers = Leavers::of(&before);
        for record in all(&mut leavers) {
            note(&record, &after).expect("a record");
        }
        let out = |reason| Moved::OutOfOther { reason };
        let expected = [
            ("hall", "b", out(Reason::UNSUBSCRIBE)),
            ("hall", "a", out(Reason::HAND_OVER)),
            (SERVER, "a", out(Reason { code: 3012, text: "no pong".into() })),
        ];
        let told = words(&after);
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for ((room, client, what), expected) in told.iter().zip(&expected) {
            assert_eq!((&**room, &**client, what), (expected.0, expected.1, &expected.2));
        }
        assert!(leavers.next_record().is_none());
        // A process that hands over in its turn passes it on.
        after.close();
        after.leave_other("yard", "c", Reason::DISCONNECT);
        assert_eq!(all(&mut Leavers::of(&after)).len(), 1);
    }

    #[test]
    fn very_many_go_in_several_records() {
        let (before, after) = (journal(), journal());
        let names: Vec<String> = (0..2_000).map(|at| format!("client-{at:032}")).collect();
        names.iter().for_each(|name| before.enter("hall", name, ""));
        let mut written = Taken::default();
        before.take(&mut written);
        before.written(&mut written);
        before.close();
        names.iter().for_each(|name| before.leave("hall", name, Reason::HAND_OVER));
        let records = all(&mut Leavers::of(&before));
        assert!(records.len() > 2, "{}", records.len());
        for record in records {
            assert!(record.len() <= RECORD_BYTES + 1_000, "{}", record.len());
            note(&record, &after).expect("a record");
        }
        assert!(words(&after).iter().map(|(_, client, _)| client).eq(&names));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = note(&bytes, &journal());
        }
    }

    #[test]
    fn a_record_that_is_cut_off_is_none() {
        let before = journal();
        before.enter("hall", "a", "");
        let mut written = Taken::default();
        before.take(&mut written);
        before.written(&mut written);
        before.close();
        before.leave("hall", "a", Reason::HAND_OVER);
        let record = Leavers::of(&before).next_record().expect("somebody goes");
        for end in 1..record.len() {
            assert!(note(&record[..end], &journal()).is_none(), "{end}");
        }
    }
}
