//! Measures what counts its heap. Apart from the other program, because counting slows every allocation down.

use std::process::ExitCode;

use cap::Cap;

#[global_allocator]
static HEAP: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

fn main() -> ExitCode {
    rivals::cli::main(Some(|| HEAP.allocated()))
}
