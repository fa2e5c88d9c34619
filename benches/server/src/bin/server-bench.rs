//! Measures, reports, and serves as a rival.

use std::process::ExitCode;

/// The one that the roomcast server uses, for the rivals too.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server_bench::cli::main()
}
