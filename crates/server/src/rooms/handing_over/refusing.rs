//! The engine of rooms that are being handed over.

use crate::rooms::engine::{Accepted, Answer, Engine, Entered, Erase, PublishAnswers, PublishBatch, Remains};
use crate::rooms::visible::Edge;
use crate::session::Recover;
use roomcast::Room;
use roomcast_protocol::{ErrorCode, HistoryQuery, HistoryResult, Placed, Publication, RoomName};

/// Refuses whatever it is asked, so that whoever asks comes again, to the process that has the rooms by then.
#[derive(Debug)]
pub(crate) struct Refusing;

/// It is for the other process to answer.
pub(super) fn refused<T>() -> Answer<Result<T, ErrorCode>> {
    Answer::Now(Err(ErrorCode::TooManyRequests))
}

impl Engine for Refusing {
    fn publish(&self, batch: PublishBatch) -> PublishAnswers {
        batch.iter().map(|_| refused::<Accepted>()).collect()
    }

    fn enter(&self, _: &RoomName, _: Option<&Recover>, _: usize) -> Answer<Result<Entered, ErrorCode>> {
        refused()
    }

    fn history(&self, _: &RoomName, _: &HistoryQuery) -> Answer<Result<HistoryResult, ErrorCode>> {
        refused()
    }

    fn remove_history(&self, _: &RoomName) -> Answer<Result<(), ErrorCode>> {
        refused()
    }

    fn erase(&self, _: &RoomName, _: &str, _: Erase) -> Answer<Result<u64, ErrorCode>> {
        refused()
    }

    fn fetch(&self, _: &Room<Publication>, _: u64, _: usize) -> Answer<Result<Vec<Placed>, ErrorCode>> {
        refused()
    }

    fn has_more_than_ring(&self) -> bool {
        false
    }

    fn edge(&self, _: &Room<Publication>) -> Result<Edge, ErrorCode> {
        Err(ErrorCode::TooManyRequests)
    }

    fn remains(&self, _: &Room<Publication>) -> Remains {
        Remains { empty_ms: u64::MAX, until_ms: 0 }
    }
}
