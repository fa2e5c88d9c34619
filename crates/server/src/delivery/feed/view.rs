//! What members are given otherwise than all of it as it was published: what matches a filter, a chain of deltas, not their own.
//!
//! Members with the same filter, and members with deltas, form groups of their own, so that what they are given is encoded once for all
//! of them; the other groups know nothing of it. Whoever is not given its own takes the batches of its group as long as nothing in them
//! is its own. One of which everything is passes it by; for one of which something is, it falls behind, and is given the rest by itself.

use std::collections::HashMap;
use std::sync::Arc;

use super::member::Member;
use super::own::Own;
use crate::config::Echo;
use crate::delivery::sink::{MemberSink, Written};
use crate::ops::metrics::ShardMetrics;
use crate::rooms::join_leave::{Event, What};
use crate::session::{View, is_own};
use crate::wire::encoded_batch::EncodedBatch;
use crate::wire::framing::Framing;
use roomcast_protocol::{ClientInfo, DeltaChain, Encoding, Link, Publication, PublicationEncoder, TagsFilter};

/// What a comparison of a filter takes, in bytes of payload that are made a delta of: some ten nanoseconds.
const COMPARISON_BYTES: usize = 16;

/// What distinguishes the groups of a room whose members are given something else than the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) framing: Framing,
    pub(super) hears: bool,
    is_delta: bool,
    filter: Option<Arc<TagsFilter>>,
}

/// Groups of one room, by what distinguishes them.
pub(super) type Kinds = HashMap<Kind, usize>;

impl Kind {
    /// The group of a member with that view, if it is not one of those who are given everything as it is.
    pub(super) fn of(framing: Framing, hears: bool, view: &View) -> Option<Self> {
        let View { filter, is_delta, .. } = view;
        (*is_delta || filter.is_some()).then(|| Self { framing, hears, is_delta: *is_delta, filter: filter.clone() })
    }
}

/// What the members of a group are given otherwise.
pub(super) struct GroupView {
    filter: Option<Arc<TagsFilter>>,
    chain: Option<Chain>,
    pub(super) own: Own,
    /// Whether there are publications in the batch.
    has_publications: bool,
}

/// The chain of deltas that a group is given.
struct Chain {
    links: DeltaChain,
    /// The sequence of the publication that the members have, if that is what they were given last.
    base: Option<u64>,
    /// The same batch for members that do not have it: the first publication in it is whole.
    whole: EncodedBatch,
    /// Whether there are such members.
    needs_whole: bool,
    /// Whether nothing of the chain is in the batch yet.
    is_first: bool,
}

/// What of a batch is for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// The batch.
    All,
    /// The one that begins with a whole publication.
    Whole,
    /// Something that nobody else is given.
    Apart,
    /// Nothing: it is all its own.
    Nothing,
}

impl GroupView {
    /// Of a group of that kind, or of one whose members are given everything as it is but for their own.
    pub(super) fn new(kind: Option<&Kind>, encoding: Encoding) -> Self {
        let chain = kind.is_some_and(|kind| kind.is_delta).then(|| Chain {
            links: DeltaChain::new(encoding),
            base: None,
            whole: EncodedBatch::default(),
            needs_whole: false,
            is_first: true,
        });
        let filter = kind.and_then(|kind| kind.filter.clone());
        Self { filter, chain, own: Own::default(), has_publications: false }
    }

    /// What distinguishes the group, if anything does.
    pub(super) fn kind(&self, framing: Framing, hears: bool) -> Option<Kind> {
        let (filter, is_delta) = (self.filter.clone(), self.chain.is_some());
        (is_delta || filter.is_some()).then_some(Kind { framing, hears, is_delta, filter })
    }

    /// Whether members may need a batch that begins with a whole publication.
    pub(super) fn is_chain(&self) -> bool {
        self.chain.is_some()
    }

    /// The members have that publication, and were given it last.
    pub(super) fn begin_chain(&mut self, newest: &Publication, sequence: u64) {
        if let Some(chain) = &mut self.chain {
            chain.links.append(newest, false);
            chain.base = Some(sequence);
        }
    }

    /// Begins a batch; `needs_whole` when there are members that do not have what was given last.
    pub(super) fn begin(&mut self, framing: Framing, needs_whole: bool) {
        self.has_publications = false;
        self.own.begin();
        if let Some(chain) = &mut self.chain {
            chain.whole.begin(framing);
            chain.needs_whole = needs_whole;
            chain.is_first = true;
        }
    }

    /// Appends a publication, if the members are given it. How much work that nobody sees in what is written: in bytes of payload that
    /// were made a delta of.
    pub(super) fn push(
        &mut self,
        (publication, sequence, time_ms): (&Publication, u64, u64),
        may_be_base: impl FnOnce(u64) -> bool,
        encoder: &PublicationEncoder,
        batch: &mut EncodedBatch,
    ) -> usize {
        let matching = self.filter.as_ref().map_or(0, |filter| filter.size() * COMPARISON_BYTES);
        if !self.matches(publication) {
            return matching;
        }
        self.own.note(publication);
        self.has_publications = true;
        // The wire counts from 1.
        let offset = sequence + 1;
        match &mut self.chain {
            None => {
                batch.push(|out| encoder.encode(publication, offset, time_ms, out));
                matching
            }
            Some(chain) => {
                if !chain.base.is_some_and(|base| base + 1 == sequence && may_be_base(base)) {
                    chain.links.forget();
                }
                let link = chain.links.append(publication, publication.is_delta());
                chain.base = Some(sequence);
                batch.push(|out| encoder.encode_link(publication, &link, offset, out));
                if chain.needs_whole {
                    let whole = if chain.is_first { &link.without_delta() } else { &link };
                    chain.whole.push(|out| encoder.encode_link(publication, whole, offset, out));
                }
                chain.is_first = false;
                matching + if publication.is_delta() { publication.data.as_bytes().len() } else { 0 }
            }
        }
    }

    /// Appends an event, if the members are given it.
    pub(super) fn push_event(
        &mut self,
        event: &Event,
        encoding: Encoding,
        encoder: &PublicationEncoder,
        batch: &mut EncodedBatch,
    ) {
        let What::Message(publication, time_ms) = &event.what else {
            batch.push(|out| encoding.encode_push(&event.push(), out));
            if let Some(chain) = self.chain.as_mut().filter(|chain| chain.needs_whole) {
                chain.whole.push(|out| encoding.encode_push(&event.push(), out));
            }
            return;
        };
        if !self.matches(publication) {
            return;
        }
        self.own.note(publication);
        match &mut self.chain {
            None => batch.push(|out| encoder.encode(publication, 0, *time_ms, out)),
            Some(chain) => {
                // Whoever takes deltas makes the next payload of this one, which not everybody has.
                let link = Link::whole(encoding, &publication.data);
                chain.base = None;
                batch.push(|out| encoder.encode_link(publication, &link, 0, out));
                if chain.needs_whole {
                    chain.whole.push(|out| encoder.encode_link(publication, &link, 0, out));
                }
            }
        }
    }

    /// What of the batch is for that member, which has the publication before it or not.
    pub(super) fn share(&self, member: usize, has_newest: bool, batch: &EncodedBatch) -> Share {
        match self.own.in_batch(member) {
            0 if has_newest || !self.chain.as_ref().is_some_and(|chain| chain.needs_whole) => Share::All,
            0 => Share::Whole,
            own if own == batch.messages() => Share::Nothing,
            _ => Share::Apart,
        }
    }

    /// Gives a member a share that is not the batch; false when it is to go on by itself.
    pub(super) fn give<S: MemberSink>(
        &mut self,
        share: Share,
        member: &mut Member<S>,
        writes: &mut usize,
        metrics: &ShardMetrics,
    ) -> bool {
        match (share, &mut self.chain) {
            (Share::Nothing, _) => {
                member.has_newest &= !self.has_publications;
                true
            }
            (Share::Whole, Some(chain)) => {
                *writes -= 1;
                if member.sink.write_batch(&mut chain.whole) == Written::Full {
                    return false;
                }
                member.has_newest |= self.has_publications;
                metrics.messages_out.inc_by(chain.whole.messages());
                metrics.bytes_out.inc_by(chain.whole.len() as u64);
                true
            }
            _ => false,
        }
    }

    /// Ends it: it can be sent from here on.
    pub(super) fn finish(&mut self) {
        if let Some(chain) = &mut self.chain {
            chain.whole.finish();
        }
    }

    /// Bytes that were read to compress what is not in the batch.
    pub(super) fn compressed_bytes(&self) -> usize {
        self.chain.as_ref().map_or(0, |chain| chain.whole.compressed_bytes())
    }

    /// Nothing is made a delta of what was given last, nor kept of it: something of the room was erased.
    pub(super) fn recall(&mut self) {
        if let Some(chain) = &mut self.chain {
            chain.links.forget();
            chain.base = None;
            // It is begun anew with the next batch.
            chain.whole = EncodedBatch::default();
        }
    }

    /// Whether the members are given everything as it is.
    pub(super) fn is_plain(&self) -> bool {
        self.filter.is_none() && self.chain.is_none() && self.own.is_empty()
    }

    fn matches(&self, publication: &Publication) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(&publication.tags))
    }
}

/// How one member is given what it goes on with by itself: as its group would be, but that nothing is a delta, which would be made for it
/// alone.
#[derive(Clone, Copy)]
pub(super) struct MemberView<'a> {
    view: Option<&'a GroupView>,
    own: Option<&'a (Echo, ClientInfo)>,
    encoding: Encoding,
    encoder: &'a PublicationEncoder,
}

impl<'a> MemberView<'a> {
    pub(super) fn new(
        view: Option<&'a GroupView>,
        member: usize,
        encoding: Encoding,
        encoder: &'a PublicationEncoder,
    ) -> Self {
        Self { view, own: view.and_then(|view| view.own.of(member)), encoding, encoder }
    }

    /// Appends a publication, if the member is given it; whether it is.
    pub(super) fn push(self, publication: &Publication, offset: u64, time_ms: u64, batch: &mut EncodedBatch) -> bool {
        let Some(view) = self.view else {
            batch.push(|out| self.encoder.encode(publication, offset, time_ms, out));
            return true;
        };
        if !view.matches(publication) || self.own.is_some_and(|(echo, own)| is_own(*echo, publication, own)) {
            return false;
        }
        if view.chain.is_some() {
            let link = Link::whole(self.encoding, &publication.data);
            batch.push(|out| self.encoder.encode_link(publication, &link, offset, out));
        } else {
            batch.push(|out| self.encoder.encode(publication, offset, time_ms, out));
        }
        true
    }

    /// Appends an event, if the member is given it; whether the payload that it has last is still that of a publication.
    pub(super) fn push_event(self, event: &Event, batch: &mut EncodedBatch) -> bool {
        match &event.what {
            What::Message(publication, time_ms) => !self.push(publication, 0, *time_ms, batch),
            _ => {
                batch.push(|out| self.encoding.encode_push(&event.push(), out));
                true
            }
        }
    }
}
