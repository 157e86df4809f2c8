//! barge-init as another binary carries it: what the `barge` binary does under the name `barge-init`.

use std::process::ExitCode;

fn main() -> ExitCode {
    barge_init::main(std::env::args_os().skip(1).collect())
}
