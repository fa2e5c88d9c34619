//! The roomcast binary: reads its arguments and calls the library.

mod cli;

use std::process::ExitCode;

/// Threads that read hand their buffers to threads that write; the system allocator makes them wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
