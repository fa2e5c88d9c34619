//! What ran out first: the cores, the load generator, memory, or nothing.

/// How busy the machine was at one point of a sweep. Shares are of one core: 1.9 is nearly two cores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Cores the machine has for the run.
    pub cores: f64,
    /// Cores that were busy, with whatever.
    pub busy: f64,
    /// Cores that the load generator kept busy, where it can be told from what it measures.
    pub generator: Option<f64>,
    /// Cores the generator may use at most: its threads.
    pub generator_threads: Option<f64>,
    /// Resident memory over what the machine has.
    pub memory: f64,
    /// Messages that were lost or skipped, over those that were due.
    pub missed: f64,
    /// Whether a schedule said how much there is to do; else everybody went as fast as they could.
    pub is_paced: bool,
}

/// What a run had no more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// The generator: what was measured is the lab, not roomcast.
    Generator,
    /// All cores were busy.
    Cores,
    /// Memory was nearly full.
    Memory,
    /// Readers fell behind although cores were free.
    Readers,
    /// Cores, nearly: little was left of them.
    NearlyCores,
    /// Nothing that is measured, although everybody went as fast as they could: they waited for each other.
    Waiting,
    /// Nothing: the load that was asked for was below what the machine can do.
    Nothing,
}

/// What ran out under `load`.
///
/// The generator is asked first: where it is the bottleneck nothing else can be said.
#[must_use]
pub fn limit(load: &Load) -> Limit {
    let is_generator_full = |generator: f64| {
        let is_out_of_threads = load.generator_threads.is_some_and(|threads| generator >= FULL * threads);
        let takes_most = load.busy >= FULL * load.cores && generator > load.busy / 2.0;
        is_out_of_threads || takes_most
    };
    if load.generator.is_some_and(is_generator_full) {
        Limit::Generator
    } else if load.memory >= FULL {
        Limit::Memory
    } else if load.cores > 0.0 && load.busy >= FULL * load.cores {
        Limit::Cores
    } else if load.missed > MISSED_SEEN {
        Limit::Readers
    } else if load.cores > 0.0 && load.busy >= NEARLY_FULL * load.cores {
        Limit::NearlyCores
    } else if load.is_paced {
        Limit::Nothing
    } else {
        Limit::Waiting
    }
}

/// Nobody gets all of a core from a machine that others use too.
const FULL: f64 = 0.9;
/// Above it nobody says that there was room for more.
const NEARLY_FULL: f64 = 0.75;
/// One in a thousand.
const MISSED_SEEN: f64 = 0.001;
