//! Chains of deltas: each publication as what has changed since the one before.
//!
//! Who reads such a chain is given a first publication whole; of each further one it makes the payload of the one before and a
//! delta. In JSON every payload of a chain is a string: the text of the payload, or of the delta.

use bytes::Bytes;

use crate::fossil::Differ;
use crate::{Encoding, Payload, Publication};

/// The name of the one kind of delta, which is Fossil's.
pub const FOSSIL: &str = "fossil";

/// Bytes of a payload that is looked at for a delta, and of the one before: beyond, it is given as it is.
const DELTA_BYTES_MAX: usize = 1 << 20;

/// The payload that the readers of a chain have, and what makes the next one of it.
#[derive(Debug)]
pub struct DeltaChain {
    encoding: Encoding,
    before: Option<Bytes>,
    differ: Differ,
}

/// A payload in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    whole: Bytes,
    delta: Option<Vec<u8>>,
}

impl DeltaChain {
    /// A chain whose readers have nothing.
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, before: None, differ: Differ::default() }
    }

    /// The readers have nothing, or it is not known what.
    pub fn forget(&mut self) {
        self.before = None;
    }

    /// Appends the payload of `publication`, with a delta if one `is_wanted`, the readers have one to make it of, and it is shorter.
    pub fn append(&mut self, publication: &Publication, is_wanted: bool) -> Link {
        let mut link = Link::whole(self.encoding, &publication.data);
        if let Some(before) = self.before.replace(link.whole.clone())
            && is_wanted
            && before.len().max(link.whole.len()) <= DELTA_BYTES_MAX
        {
            let is_text = self.encoding != Encoding::Protobuf;
            let delta = self.differ.delta(&before, &link.whole, is_text);
            debug_assert!(!is_text || str::from_utf8(&delta).is_ok(), "new bytes of a text are whole characters");
            link.delta = (delta.len() < link.whole.len()).then_some(delta);
        }
        link
    }
}

/// Bytes of payloads that are made deltas of in one reply: a millisecond or so of work, for each of many who come back at once. The
/// others are whole.
const RECOVERED_BYTES_MAX: usize = 1 << 18;

/// The chain of what one client recovers.
pub(crate) struct RecoveredChain {
    chain: DeltaChain,
    left: usize,
}

impl RecoveredChain {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { chain: DeltaChain::new(encoding), left: RECOVERED_BYTES_MAX }
    }

    /// The next one: a delta, however it was published.
    pub(crate) fn append(&mut self, publication: &Publication) -> Link {
        let bytes = publication.data.as_bytes().len();
        let is_wanted = bytes <= self.left;
        self.left = self.left.saturating_sub(bytes);
        self.chain.append(publication, is_wanted)
    }
}

impl Link {
    /// A payload for whoever has nothing to make it of.
    pub fn whole(encoding: Encoding, payload: &Payload) -> Self {
        let whole = match encoding {
            Encoding::Json | Encoding::JsonPushes => payload.to_json(),
            Encoding::Protobuf => payload.to_bytes(),
        };
        Self { whole, delta: None }
    }

    /// The same for whoever does not have the payload before this one.
    #[must_use]
    pub fn without_delta(&self) -> Self {
        Self { whole: self.whole.clone(), delta: None }
    }

    /// Whether it is a delta.
    pub fn is_delta(&self) -> bool {
        self.delta.is_some()
    }

    /// The bytes of the delta, or of the payload.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.delta.as_deref().unwrap_or(&self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply_delta;

    fn publication(json: &str) -> Publication {
        Publication::new(Payload::opaque(json.to_owned().into()), None)
    }

    fn board(clock: u32) -> String {
        format!("{{\"board\":[\"x\",\"o\",\"x\",\"-\",\"x\",\"o\"],\"clock\":{clock}}}")
    }

    #[test]
    fn the_first_payload_is_whole_and_the_next_a_delta_if_that_is_shorter() {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let mut chain = DeltaChain::new(encoding);
            let (first, second) = (publication(&board(1)), publication(&board(2)));
            assert!(!chain.append(&first, true).is_delta());
            let link = chain.append(&second, true);
            assert!(link.is_delta() && !link.without_delta().is_delta());
            assert_eq!(link.without_delta().as_bytes(), board(2).as_bytes());
            assert_eq!(apply_delta(board(1).as_bytes(), link.as_bytes(), 1_000).unwrap(), board(2).as_bytes());
            assert!(!chain.append(&publication("1"), true).is_delta(), "the payload is shorter");
            assert!(!chain.append(&first, true).is_delta());
            assert!(!chain.append(&second, false).is_delta(), "nobody has asked for one");
            assert!(chain.append(&first, true).is_delta(), "and it is a base all the same");
            chain.forget();
            assert!(!chain.append(&second, true).is_delta());
        }
    }

    /// Otherwise a text of nothing but white space between the tokens would have another base than what was sent.
    #[test]
    fn the_base_of_json_is_what_readers_of_json_are_given() {
        let mut chain = DeltaChain::new(Encoding::Json);
        let loose = publication(&board(1).replace(',', " ,\n"));
        assert_eq!(chain.append(&loose, true).as_bytes(), board(1).as_bytes());
        let link = chain.append(&publication(&board(2)), true);
        assert_eq!(apply_delta(board(1).as_bytes(), link.as_bytes(), 1_000).unwrap(), board(2).as_bytes());
        let bytes = Publication::new(Payload::opaque([0, 255].as_slice().into()), None);
        assert_eq!(chain.append(&bytes, true).as_bytes(), b"\"AP8=\"");
    }

    #[test]
    fn a_delta_in_json_divides_no_character() {
        let mut chain = DeltaChain::new(Encoding::Json);
        let text = |middle: &str| format!("\"a text that is long enough: {middle}, to be worth a delta\"");
        chain.append(&publication(&text("äöü")), true);
        // Half of each character is as it was.
        for middle in ["ãõû", "äõü", "ä😀ü", "ä😁ü"] {
            let link = chain.append(&publication(&text(middle)), true);
            assert!(link.is_delta() && str::from_utf8(link.as_bytes()).is_ok(), "{}", link.as_bytes().escape_ascii());
        }
    }

    #[test]
    fn what_is_too_large_is_not_compared() {
        let mut chain = DeltaChain::new(Encoding::Protobuf);
        let large = publication(&"a".repeat(DELTA_BYTES_MAX + 1));
        chain.append(&large, true);
        assert!(!chain.append(&large, true).is_delta());
        assert!(!chain.append(&publication("1"), true).is_delta());
    }
}
