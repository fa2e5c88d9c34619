//! What the hand-overs have shown.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use harness::machine;
use harness::origin::Origin;

use crate::crowd::Seen;

/// How many more clients may come back in the busiest second than in the mean one between the first and the last close.
const EVEN: f64 = 1.5;
/// Seconds over which clients are closed for that to mean something, and for it to be held against it.
const SECONDS_SHOWN: f64 = 5.0;
const SECONDS_JUDGED: f64 = 45.0;

/// One hand-over.
pub(crate) struct HandOver {
    /// From the word to start it until the new process served.
    served: Duration,
    /// From the first close to the last.
    span: Duration,
    closed: usize,
    came_back: usize,
    /// Those who came back in the busiest second.
    busiest: usize,
}

impl HandOver {
    pub(crate) fn of(served: Duration, begun: Instant, closed: &[Instant], came_back: &[Instant]) -> Self {
        let first = closed.iter().min().copied().unwrap_or(begun);
        let last = closed.iter().max().copied().unwrap_or(begun);
        Self {
            served,
            span: last - first,
            closed: closed.len(),
            came_back: came_back.len(),
            busiest: busiest(came_back),
        }
    }

    /// The busiest second beside the mean one; nothing where there were too few.
    fn ratio(&self) -> Option<f64> {
        let span = self.span.as_secs_f64();
        (span >= SECONDS_SHOWN).then(|| self.busiest as f64 / (self.came_back as f64 / span))
    }

    pub(crate) fn line(&self) -> String {
        let ratio = self.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        format!(
            "served after {:.2} s, {} closed over {:.1} s, {} came back, busiest second / mean {ratio}",
            self.served.as_secs_f64(),
            self.closed,
            self.span.as_secs_f64(),
            self.came_back
        )
    }
}

/// The most that lie within a second, wherever it begins.
fn busiest(times: &[Instant]) -> usize {
    let mut times = times.to_vec();
    times.sort_unstable();
    let mut from = 0;
    let mut most = 0;
    for (at, time) in times.iter().enumerate() {
        while *time - times[from] >= Duration::from_secs(1) {
            from += 1;
        }
        most = most.max(at + 1 - from);
    }
    most
}

/// All that was found.
pub(crate) struct Outcome {
    pub(crate) clients: usize,
    pub(crate) rate: usize,
    pub(crate) hand_overs: Vec<HandOver>,
    pub(crate) seen: Seen,
}

impl Outcome {
    /// What was to hold and does not.
    pub(crate) fn failures(&self) -> Vec<String> {
        let Seen { lost, disordered, unrecovered, came_back, .. } = self.seen;
        let mut failures = Vec::new();
        let mut fails = |fails: bool, what: String| failures.extend(fails.then_some(what));
        fails(lost > 0, format!("{lost} messages that were acknowledged were not received"));
        fails(disordered > 0, format!("{disordered} messages came twice, or out of their order"));
        fails(unrecovered > 0, format!("{unrecovered} of {came_back} times a client did not recover"));
        for (nth, hand_over) in self.hand_overs.iter().enumerate() {
            let is_judged = hand_over.span.as_secs_f64() >= SECONDS_JUDGED;
            if let Some(ratio) = hand_over.ratio().filter(|ratio| is_judged && *ratio > EVEN) {
                fails(true, format!("hand-over {}: the busiest second is {ratio:.2} times the mean one", nth + 1));
            }
        }
        failures
    }
}

/// The page.
pub(crate) fn page(outcome: &Outcome) -> String {
    let Outcome { clients, rate, hand_overs, seen } = outcome;
    let mut page = format!(
        "# Hand-overs\n\nWritten by `make hand-overs`; do not edit. {clients} clients over TLS are in thirty rooms, a third of them each \
         in memory alone, in a database, and in one that has what is acknowledged; somebody says something in each twice a second. Again \
         and again the server is told to start the process that takes over from it, as a deploy does, which closes {rate} clients a \
         second. Whoever is closed comes back within half a second, as SDKs do, and recovers.\n\n"
    );
    let origin = Origin::of("src crates Cargo.lock benches/hand-overs");
    let _ = write!(
        page,
        "* {}\n* machine: {}\n\n",
        origin.lines().trim_start_matches("* ").trim_end(),
        machine::description()
    );
    let _ = write!(
        page,
        "| | |\n|---|--:|\n| hand-overs | {} |\n| messages acknowledged | {} |\n| received, over all clients | {} |\n\
         | acknowledged and not received | {} |\n| received twice, or out of order | {} |\n| times that clients came back | {} |\n\
         | of these, not recovered | {} |\n| connections that ended otherwise than with 3001 | {} |\n\n",
        hand_overs.len(),
        seen.acknowledged,
        seen.received,
        seen.lost,
        seen.disordered,
        seen.came_back,
        seen.unrecovered,
        seen.cut
    );
    let _ = write!(
        page,
        "*Served*: from the word to the old process until the new one serves. *Busiest*: those who came back in the busiest second, beside \
         the mean one between the first close and the last; at most {EVEN} where they are {SECONDS_JUDGED} seconds apart or more.\n\n\
         | | served, s | closed over, s | came back | busiest |\n|--:|--:|--:|--:|--:|\n"
    );
    for (nth, hand_over) in hand_overs.iter().enumerate() {
        let ratio = hand_over.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            page,
            "| {} | {:.2} | {:.1} | {} | {ratio} |",
            nth + 1,
            hand_over.served.as_secs_f64(),
            hand_over.span.as_secs_f64(),
            hand_over.came_back
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_begins_anywhere() {
        let begin = Instant::now();
        let at = |ms: &[u64]| ms.iter().map(|ms| begin + Duration::from_millis(*ms)).collect::<Vec<_>>();
        assert_eq!(busiest(&at(&[0, 900, 1_000, 1_100, 1_899, 1_900])), 4);
        assert_eq!(busiest(&[]), 0);
    }
}
