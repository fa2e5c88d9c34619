//! The roomcast binary: reads its arguments and calls the library.

mod cli;

use std::process::ExitCode;

/// Threads that read hand their buffers to threads that write; the system allocator makes them wait for each other.
#[cfg(not(roomcast_profile_heap))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps books of who allocates.
#[cfg(roomcast_profile_heap)]
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    cli::main()
}
