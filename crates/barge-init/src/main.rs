//! The `barge-init` program. The work is in the library, which the `barge` binary carries as well.

use std::process::ExitCode;

fn main() -> ExitCode {
    barge_init::main(std::env::args_os().skip(1).collect())
}
