//! Measures, and reports.

use std::process::ExitCode;

/// The same for everybody, and the one that the roomcast server uses: with the system's, half of what a `Bytes` costs is
/// the allocator.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rivals::cli::main(None)
}
