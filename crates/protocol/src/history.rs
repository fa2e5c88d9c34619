//! Which part of a room's past a history command reads.

use super::{HistoryRequest, StreamPosition};
use std::ops::Range;

/// A history command with its limits applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The most publications to return; 0 asks for the position only.
    pub limit: usize,
    /// Read only what lies beyond this position, in the direction of reading.
    pub since: Option<StreamPosition>,
    /// Whether to read from the newest down.
    pub reverse: bool,
}

impl HistoryQuery {
    /// What `request` asks for, but at most `publications_max` publications.
    pub fn new(request: &HistoryRequest, publications_max: usize) -> Self {
        let limit = usize::try_from(request.limit).map_or(publications_max, |limit| limit.min(publications_max));
        Self { limit, since: request.since.clone(), reverse: request.reverse }
    }

    /// The offsets to read of a room that keeps `oldest` to `top`, both counted from 1; an empty room has
    /// `oldest == top + 1`. With `reverse` the reply lists them from the last to the first.
    ///
    /// # Examples
    /// ```
    /// use roomcast_protocol::{HistoryQuery, HistoryRequest};
    ///
    /// let mut request = HistoryRequest::default();
    /// request.limit = 2;
    /// assert_eq!(HistoryQuery::new(&request, 300).window(5, 9), 5..7);
    /// request.reverse = true;
    /// assert_eq!(HistoryQuery::new(&request, 300).window(5, 9), 8..10);
    /// ```
    pub fn window(&self, oldest: u64, top: u64) -> Range<u64> {
        let (limit, end) = (self.limit as u64, top.saturating_add(1));
        if self.reverse {
            let end = self.since.as_ref().map_or(end, |since| since.offset.min(end));
            let start = end.saturating_sub(limit).max(oldest);
            start.min(end)..end
        } else {
            let after = self.since.as_ref().map_or(oldest, |since| since.offset.saturating_add(1));
            let start = after.max(oldest).min(end);
            start..start.saturating_add(limit).min(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(limit: i32, since: Option<u64>, reverse: bool) -> HistoryQuery {
        let since = since.map(|offset| StreamPosition { offset, epoch: "x".to_owned() });
        HistoryQuery::new(&HistoryRequest { room: "r".to_owned(), limit, since, reverse }, 300)
    }

    #[test]
    fn limit_zero_reads_nothing_and_a_negative_one_reads_up_to_the_cap() {
        assert!(query(0, None, false).window(1, 10).is_empty());
        assert_eq!(query(-1, None, false).window(1, 10), 1..11);
        assert_eq!(query(-1, None, false).window(1, 1000), 1..301);
        assert_eq!(query(i32::MAX, None, true).window(1, 1000), 701..1001);
    }

    /// Every small room and query against a filter over the room's offsets.
    #[test]
    fn the_window_is_what_a_filter_would_find() {
        for oldest in 1..=4_u64 {
            for top in oldest - 1..=6 {
                for limit in 0..=7 {
                    for since in [None, Some(0), Some(2), Some(4), Some(6), Some(7), Some(u64::MAX)] {
                        let kept = || oldest..=top;
                        let newer: Vec<u64> =
                            kept().filter(|o| since.is_none_or(|s| *o > s)).take(limit as usize).collect();
                        let mut older: Vec<u64> =
                            kept().rev().filter(|o| since.is_none_or(|s| *o < s)).take(limit as usize).collect();
                        older.reverse();
                        let case = format!("{oldest}..={top}, limit {limit}, since {since:?}");
                        assert!(query(limit, since, false).window(oldest, top).eq(newer), "{case}");
                        assert!(query(limit, since, true).window(oldest, top).eq(older), "{case} reverse");
                    }
                }
            }
        }
    }
}
