//! Token buckets: how often something may happen in a time, and how often at once. Nothing runs to fill them: each knows when it
//! will be full again.

use smallvec::SmallVec;

use crate::config::RateBucket;

/// How fast something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    /// In which time one token comes.
    token_ns: u64,
    /// In which time all come.
    full_ns: u64,
    /// How many there are.
    tokens: u64,
}

impl Rate {
    fn new(bucket: &RateBucket) -> Self {
        let interval_ns = u64::try_from(bucket.interval.as_nanos()).unwrap_or(u64::MAX);
        let tokens = (bucket.rate as u64).max(1);
        let token_ns = (interval_ns / tokens).max(1);
        Self { token_ns, full_ns: token_ns.saturating_mul(tokens), tokens }
    }
}

/// Rates that hold together: what happens takes from the buckets of all of them, or from none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates(SmallVec<[Rate; 2]>);

/// When the buckets of one who is limited are full again, in nanoseconds; one that is not here is full.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buckets(SmallVec<[u64; 2]>);

const NS_PER_MS: u64 = 1_000_000;

impl Rates {
    pub(crate) fn new(buckets: &[RateBucket]) -> Self {
        Self(buckets.iter().map(Rate::new).collect())
    }

    /// Whether nothing is limited.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes so many tokens, if every bucket has them; false, and none are taken, if not. More than a bucket holds is all that it
    /// holds: what happens in one piece may happen when nothing has before.
    pub(crate) fn take(&self, buckets: &mut Buckets, tokens: u64, now_ms: u64) -> bool {
        let Buckets(full_at) = buckets;
        if full_at.len() < self.0.len() {
            full_at.resize(self.0.len(), 0);
        }
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        let after = |rate: &Rate, full_at: u64| {
            full_at.max(now_ns).saturating_add(rate.token_ns.saturating_mul(tokens.min(rate.tokens)))
        };
        // Half a token is no token more, and is what the clocks of shards may be apart.
        let may_be = |rate: &Rate| rate.full_ns.saturating_add(rate.token_ns / 2);
        for (rate, full_at) in self.0.iter().zip(full_at.iter_mut()) {
            // Where the rate was another before, an empty bucket is an empty one of this rate.
            *full_at = (*full_at).min(now_ns.saturating_add(may_be(rate)));
        }
        if self.0.iter().zip(&*full_at).any(|(rate, full_at)| after(rate, *full_at) - now_ns > may_be(rate)) {
            return false;
        }
        for (rate, full_at) in self.0.iter().zip(full_at) {
            *full_at = after(rate, *full_at);
        }
        true
    }
}

impl Buckets {
    /// Whether nothing needs to be remembered.
    pub(crate) fn are_full(&self, now_ms: u64) -> bool {
        self.0.iter().all(|full_at| *full_at <= now_ms.saturating_mul(NS_PER_MS))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rates(of: &[(u64, usize)]) -> Rates {
        let bucket =
            |(seconds, rate): &(u64, usize)| RateBucket { interval: Duration::from_secs(*seconds), rate: *rate };
        Rates::new(&of.iter().map(bucket).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_spent_by_another_rate_is_no_debt_by_this_one() {
        let (slow, fast) = (rates(&[(3_600, 100)]), rates(&[(1, 10)]));
        let mut buckets = Buckets::default();
        assert!((0..100).all(|_| slow.take(&mut buckets, 1, 0)));
        assert!(!fast.take(&mut buckets, 1, 0), "it is empty");
        assert!((0..10).all(|_| fast.take(&mut buckets, 1, 1_000)) && !fast.take(&mut buckets, 1, 1_000));
    }

    #[test]
    fn as_many_as_the_rate_may_happen_at_once_and_then_they_come_back_one_by_one() {
        let (rates, mut buckets) = (rates(&[(1, 4)]), Buckets::default());
        let mut taken = |now_ms| (0..10).filter(|_| rates.take(&mut buckets, 1, now_ms)).count();
        assert_eq!([taken(1_000), taken(1_124), taken(1_125), taken(1_750)], [4, 0, 1, 2]);
        assert_eq!(taken(60_000), 4, "no more are gathered");
        assert!(!buckets.are_full(60_999));
        assert!(buckets.are_full(61_000));
    }

    #[test]
    fn clocks_that_are_a_little_apart_take_nothing_away() {
        let (rates, mut buckets) = (rates(&[(3_600, 2)]), Buckets::default());
        assert!(rates.take(&mut buckets, 1, 120) && rates.take(&mut buckets, 1, 100));
        assert!(!rates.take(&mut buckets, 1, 130));
    }

    #[test]
    fn of_several_buckets_each_must_have_one_and_none_is_taken_from_otherwise() {
        let (rates, mut buckets) = (rates(&[(1, 2), (60, 3)]), Buckets::default());
        let mut taken = |now_ms| (0..10).filter(|_| rates.take(&mut buckets, 1, now_ms)).count();
        assert_eq!([taken(0), taken(1_000), taken(2_000)], [2, 1, 0]);
        assert_eq!(taken(20_000), 1, "those refused have taken nothing");
    }

    #[test]
    fn one_that_is_larger_than_a_bucket_may_come_when_it_is_full() {
        let (rates, mut buckets) = (rates(&[(1, 1_000)]), Buckets::default());
        assert!(rates.take(&mut buckets, 5_000, 0));
        assert!(!rates.take(&mut buckets, 1, 0));
        assert!(!rates.take(&mut buckets, 5_000, 999));
        assert!(rates.take(&mut buckets, 5_000, 1_000));
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let most = RateBucket { interval: Duration::MAX, rate: usize::MAX };
        let (rates, mut buckets) = (Rates::new(&[most]), Buckets::default());
        assert!(rates.take(&mut buckets, u64::MAX, u64::MAX));
        assert!(rates.take(&mut buckets, 1, u64::MAX));
    }
}
