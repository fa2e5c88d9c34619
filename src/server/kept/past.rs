//! The past of kept rooms: from the ring where that is enough, from ring and database where it is not.

use std::ops::Range;

use super::Kept;
use crate::protocol::{ErrorCode, HistoryQuery, HistoryResult, Payload, Placed, Publication, StreamPosition};
use crate::server::config::RecoveryMode;
use crate::server::history::{self, Visible};
use crate::server::session::{Recover, Subscribed};
use crate::store::{Remembered, StoreError};
use crate::{Room, Subscription};

/// Times that entering is tried again when the ring moves past where it was to begin.
const TRIES: usize = 3;

/// Whether the database may be asked, which takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    AskTheRingOnly,
    AskTheDatabase,
}

/// Why there is no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The database has to be asked.
    InTheDatabase,
    /// The command fails.
    Failed(ErrorCode),
}

impl From<ErrorCode> for NoAnswer {
    fn from(code: ErrorCode) -> Self {
        Self::Failed(code)
    }
}

/// Why some of the past was not read.
enum Unread {
    /// Not all of it is kept any more.
    Gone,
    /// The ring has moved on meanwhile.
    Moved,
    No(NoAnswer),
}

impl Kept {
    /// Enters a room: a subscription that goes on exactly after what the reply will hold.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) fn enter(
        &self,
        room: &Room<Publication>,
        recover: Option<&Recover>,
        visible: Visible,
        publications_max: usize,
        may: May,
    ) -> Result<(Subscription<Publication>, Subscribed), NoAnswer> {
        let mut tries = if may == May::AskTheDatabase { TRIES } else { 1 };
        loop {
            tries -= 1;
            let Some(at_top) = self.stand_at_top(room) else {
                // What is delivered next is stored, so that it lies in the ring, unless more is stored by now.
                if tries == 0 {
                    return Err(if may == May::AskTheDatabase {
                        ErrorCode::Internal.into()
                    } else {
                        NoAnswer::InTheDatabase
                    });
                }
                continue;
            };
            let top = at_top.position().sequence;
            let wanted = recover.and_then(|recover| wanted(room, recover, top, publications_max));
            let (subscription, found) = match wanted.map(|wanted| self.read_on(room, wanted, visible, may)) {
                None | Some(Err(Unread::Gone)) => (at_top, Vec::new()),
                Some(Ok((subscription, found))) => (subscription, found),
                Some(Err(Unread::Moved)) if tries > 0 => continue,
                Some(Err(Unread::Moved)) if may == May::AskTheRingOnly => return Err(NoAnswer::InTheDatabase),
                Some(Err(Unread::Moved)) => return Err(ErrorCode::Internal.into()),
                Some(Err(Unread::No(answer))) => return Err(answer),
            };
            let top = history::position(room, subscription.position().sequence);
            return Ok((subscription, Subscribed { top, found }));
        }
    }

    /// Answers a history command.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) fn history(
        &self,
        room: &Room<Publication>,
        query: &HistoryQuery,
        visible: Visible,
        may: May,
    ) -> Result<HistoryResult, NoAnswer> {
        let StreamPosition { epoch, .. } = history::position(room, 0);
        if query.since.as_ref().is_some_and(|since| !since.epoch.is_empty() && since.epoch != epoch) {
            return Err(NoAnswer::Failed(ErrorCode::UnrecoverablePosition));
        }
        let top = self.top(room);
        let in_ring = self.in_ring(room, visible, top);
        let near = query.window(in_ring.oldest + 1, top);
        let window = if in_ring.is_all || query.window(1, top) == near {
            near
        } else if may == May::AskTheRingOnly {
            return Err(NoAnswer::InTheDatabase);
        } else {
            let span = self.archive.span(room.name()).map_err(failed)?;
            let oldest = span.map_or(in_ring.oldest, |span| span.oldest.min(in_ring.oldest));
            query.window(oldest + 1, top)
        };
        let sequences = window.start.saturating_sub(1)..window.end.saturating_sub(1);
        let mut found = if sequences.is_empty() {
            Vec::new()
        } else if sequences.start >= in_ring.oldest
            && let Some((_, found)) = history::read(room, sequences.clone())
        {
            found
        } else if may == May::AskTheRingOnly {
            return Err(NoAnswer::InTheDatabase);
        } else {
            let limit = (sequences.end - sequences.start) as usize;
            placed(self.archive.past(room, sequences, limit).map_err(failed)?)
        };
        if query.reverse {
            found.reverse();
        }
        Ok(HistoryResult::new(found, history::position(room, top)))
    }

    /// What a member has missed from `from` on, at most `count` messages, with sequences and times.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) fn fetch(
        &self,
        room: &Room<Publication>,
        from: u64,
        count: usize,
    ) -> Result<Vec<(u64, u64, Publication)>, ErrorCode> {
        let past = self.archive.past(room, from..self.top(room), count).map_err(|error| match failed(error) {
            NoAnswer::Failed(code) => code,
            NoAnswer::InTheDatabase => ErrorCode::Internal,
        })?;
        Ok(placed(past).into_iter().map(|it| (it.offset - 1, it.time_ms, it.publication)).collect())
    }

    /// The sequence after the newest message that clients may know of.
    fn top(&self, room: &Room<Publication>) -> u64 {
        let tail = room.tail();
        self.delivery_mark(room).map_or(tail, |mark| mark.stored().min(tail))
    }

    /// A subscription that begins with what comes next; `None` when the ring has moved past it.
    fn stand_at_top(&self, room: &Room<Publication>) -> Option<Subscription<Publication>> {
        match self.delivery_mark(room) {
            Some(mark) => history::from(room, mark.stored()),
            None => room.subscribe().now().ok(),
        }
    }

    fn in_ring(&self, room: &Room<Publication>, visible: Visible, top: u64) -> InRing {
        let kept = room.oldest();
        let visible = visible.oldest(room, top);
        let oldest = visible.max(self.archive.ring_trusted_from(room)).min(top);
        // Whatever lies before what has expired in the ring has expired as well.
        InRing { oldest, is_all: visible > kept.min(top) || oldest == 0 }
    }

    /// All of these sequences, and a subscription that stands behind the last one found: the last ones may be being written at
    /// this moment, and then come as pushes.
    fn read_on(
        &self,
        room: &Room<Publication>,
        range: Range<u64>,
        visible: Visible,
        may: May,
    ) -> Result<(Subscription<Publication>, Vec<Placed>), Unread> {
        let in_ring = self.in_ring(room, visible, range.end);
        if range.start >= in_ring.oldest {
            return history::read(room, range).ok_or(Unread::Moved);
        }
        if in_ring.is_all {
            return Err(Unread::Gone);
        }
        if may == May::AskTheRingOnly {
            return Err(Unread::No(NoAnswer::InTheDatabase));
        }
        let no = |error| Unread::No(failed(error));
        let span = self.archive.span(room.name()).map_err(no)?;
        if span.is_none_or(|span| range.start < span.oldest) {
            return Err(Unread::Gone);
        }
        let border = in_ring.oldest.min(range.end);
        let count = (border - range.start) as usize;
        let mut found = placed(self.archive.past(room, range.start..border, count).map_err(no)?);
        if found.len() != count {
            return Err(Unread::Gone);
        }
        let (subscription, rest) = history::read(room, border..range.end).ok_or(Unread::Moved)?;
        found.extend(rest);
        Ok((subscription, found))
    }
}

/// The sequences that who recovers is to be given, of a room that stands at `top`.
fn wanted(
    room: &Room<Publication>,
    Recover { position: asked, mode }: &Recover,
    top: u64,
    publications_max: usize,
) -> Option<Range<u64>> {
    let range = match mode {
        RecoveryMode::Stream => {
            let is_known = asked.epoch.is_empty() || asked.epoch == room.epoch().to_string();
            let missed = top.checked_sub(asked.offset)?;
            (is_known && missed <= publications_max as u64).then_some(asked.offset..top)?
        }
        RecoveryMode::Cache => top.checked_sub(1)?..top,
    };
    (!range.is_empty()).then_some(range)
}

/// What of a room's history its ring has.
struct InRing {
    /// From here on it has everything.
    oldest: u64,
    /// Whether that is the whole history.
    is_all: bool,
}

/// What was erased keeps its place, so that who recovers does not take it for lost.
fn placed(past: Vec<Remembered<Publication>>) -> Vec<Placed> {
    let erased = || Publication::new(Payload::json("null".into()), None);
    let placed = |Remembered { sequence, time, message }| Placed {
        offset: sequence + 1,
        time_ms: time,
        publication: message.unwrap_or_else(erased),
    };
    past.into_iter().map(placed).collect()
}

fn failed(error: StoreError) -> NoAnswer {
    tracing::warn!(%error, "the past could not be read");
    NoAnswer::Failed(ErrorCode::Internal)
}
