//! The program. Everything it does is in the library.

use std::process::ExitCode;

/// A request makes some two hundred small allocations and a few of its body's size; see `docs/PERFORMANCE.md` for what
/// this one saves over the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bedrock_gateway::cli::main()
}
