//! Times, as a histogram of fixed size.

use hdrhistogram::Histogram;

use super::result::Latency;

/// Where times of messages are entered. Exact to a hundredth.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Histogram<u32>);

impl Recorder {
    /// With nothing in it.
    pub(crate) fn new() -> Self {
        // 1 ns to a minute, two digits: bounds that cannot be wrong, in 16 KiB.
        Self(Histogram::new_with_bounds(1, NANOS_MAX, 2).unwrap_or_else(|error| panic!("fixed bounds: {error}")))
    }

    /// Enters a time; one longer than a minute counts as a minute.
    #[inline]
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Adds what another one has.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// The median and the 99th percentile.
    pub(crate) fn median_and_p99(&self) -> (u64, u64) {
        (self.0.value_at_quantile(0.5), self.0.value_at_quantile(0.99))
    }

    /// What it comes to.
    pub(crate) fn to_latency(&self) -> Latency {
        let at = |quantile| self.0.value_at_quantile(quantile).min(self.0.max());
        let mut histogram: Vec<(u64, u64)> = Vec::new();
        for value in self.0.iter_recorded() {
            let bound = bucket(value.value_iterated_to());
            match histogram.last_mut() {
                Some((last, count)) if *last == bound => *count += value.count_since_last_iteration(),
                _ => histogram.push((bound, value.count_since_last_iteration())),
            }
        }
        Latency {
            count: self.0.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
            histogram,
        }
    }
}

/// The upper bound of the bucket a time is written in: four to a doubling, so that a file stays small.
fn bucket(nanos: u64) -> u64 {
    2_f64.powf(((nanos.max(1) as f64).log2() * BUCKETS_PER_DOUBLING).ceil() / BUCKETS_PER_DOUBLING).round() as u64
}

const BUCKETS_PER_DOUBLING: f64 = 4.0;
const NANOS_MAX: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_entered() {
        let mut recorder = Recorder::new();
        (1..=1_000).for_each(|micros| recorder.record(micros * 1_000));
        let latency = recorder.to_latency();
        assert_eq!(latency.count, 1_000);
        for (found, expected) in [(latency.p50, 500_000), (latency.p99, 990_000), (latency.max, 1_000_000)] {
            assert!(found.abs_diff(expected) <= expected / 50, "{found} for {expected}");
        }
        assert_eq!(latency.histogram.iter().map(|(_, count)| count).sum::<u64>(), 1_000);
        assert!(latency.histogram.is_sorted() && latency.histogram.len() < 50, "{:?}", latency.histogram);
    }
}
