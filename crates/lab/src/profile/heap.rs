//! Allocation profiles as `dhat` writes them, read into stacks.

use std::fmt;

use serde::Deserialize;

use super::Stacks;

/// Why a profile cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum HeapError {
    /// It is no JSON of that shape.
    Json(serde_json::Error),
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "this is no allocation profile: {error}"),
        }
    }
}

impl std::error::Error for HeapError {}

#[derive(Deserialize)]
struct File {
    pps: Vec<Place>,
    ftbl: Vec<String>,
}

/// A place that allocates.
#[derive(Deserialize)]
struct Place {
    /// Blocks in all.
    tbk: u64,
    /// Bytes in all.
    tb: u64,
    /// Bytes that were live when most were.
    #[serde(default)]
    gb: u64,
    /// Places in `ftbl`, the innermost first.
    fs: Vec<usize>,
}

/// Stacks by blocks, by bytes, and by bytes live when most were, of a profile in `dhat`'s JSON.
///
/// # Errors
/// [`HeapError`] when it is none.
pub fn allocations(json: &str) -> Result<[Stacks; 3], HeapError> {
    let file: File = serde_json::from_str(json).map_err(HeapError::Json)?;
    let mut stacks = [Stacks::default(), Stacks::default(), Stacks::default()];
    for place in &file.pps {
        let names = place.fs.iter().rev().filter_map(|index| file.ftbl.get(*index)).map(|frame| function(frame));
        let stack: Vec<String> = names.filter(|name| !is_plumbing(name)).collect();
        for (stacks, weight) in stacks.iter_mut().zip([place.tbk, place.tb, place.gb]) {
            if weight > 0 {
                stacks.add(stack.clone(), weight);
            }
        }
    }
    Ok(stacks)
}

/// `0x55d0: roomcast::room::publish (src/room.rs:12:5)` without address, and without the folders before its file.
fn function(frame: &str) -> String {
    let name = frame.split_once(": ").map_or(frame, |(_, name)| name);
    let Some((name, place)) = name.rsplit_once(" (") else { return name.to_owned() };
    let file = place.trim_end_matches(')').rsplit('/').next().unwrap_or_default();
    let mut parts = file.rsplitn(3, ':');
    let (_, line, file) = (parts.next(), parts.next(), parts.next());
    match file.zip(line) {
        Some((file, line)) => format!("{name} ({file}:{line})"),
        None => name.to_owned(),
    }
}

/// What stands in every stack.
fn is_plumbing(name: &str) -> bool {
    let parts = [
        "alloc::alloc::",
        "__rust_",
        "__rustc::",
        "RawVec",
        "raw_vec",
        "alloc::exchange_malloc",
        "[root]",
        "rt::lang_start",
    ];
    parts.iter().any(|part| name.contains(part))
}
