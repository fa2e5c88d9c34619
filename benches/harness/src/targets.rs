//! What is to be reached.

/// A target for one figure of one case.
#[derive(Clone, Copy)]
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
#[derive(Clone, Copy)]
pub enum Bound {
    /// No more than this.
    Most(f64),
    /// No less than this.
    Least(f64),
    /// No more than this many times the same figure of that row and contender.
    MostTimes(f64, &'static str, &'static str),
    /// No less than this many times the same figure of that row and contender.
    LeastTimes(f64, &'static str, &'static str),
}
