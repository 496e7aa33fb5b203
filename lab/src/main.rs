//! `tideway-lab`: starts, stops and inspects emulated VPCs.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
