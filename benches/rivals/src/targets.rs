//! What roomcast is to reach, with the rival's figure that each target was set beside.

/// A target for one figure of one case.
pub struct Target {
    /// Table, row, contender and figure.
    pub of: (&'static str, &'static str, &'static str, &'static str),
    /// What it is to be.
    pub bound: Bound,
    /// Who was measured on the reference machine, beside whom the bound was set, and what that one needed there. On
    /// another machine the ratio is what counts.
    pub beside: Option<(&'static str, f64)>,
}

/// A bound, in the unit of the figure or as a multiple of another one.
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// No more than this many times the same figure of that row and contender.
    AtMostTimes(f64, &'static str, &'static str),
    /// No less than this many times the same figure of that row and contender.
    AtLeastTimes(f64, &'static str, &'static str),
}

use Bound::{AtLeast, AtLeastTimes, AtMost, AtMostTimes};

const fn target(
    of: (&'static str, &'static str, &'static str, &'static str),
    bound: Bound,
    beside: Option<(&'static str, f64)>,
) -> Target {
    Target { of, bound, beside }
}

/// All of them.
pub const TARGETS: &[Target] =
    &[target(("L1", "u64, 1 unread", "roomcast", "publish"), AtMost(12.0), Some(("tokio", 26.0)))];
