//! The fake node as a process, for judges in other languages: serves on the socket named by the first argument until its
//! standard input ends, so that it cannot outlive the test that started it.

use std::{io::Read, path::Path, process::ExitCode};

use tideway_testkit::FakeNode;

fn main() -> ExitCode {
    let started = std::env::args_os()
        .nth(1)
        .ok_or_else(|| std::io::Error::other("usage: tideway-fake-node SOCKET"))
        .and_then(|socket| FakeNode::start(Path::new(&socket)));
    match started {
        Ok(node) => {
            let mut rest = Vec::new();
            drop(std::io::stdin().read_to_end(&mut rest));
            drop(node);
            ExitCode::SUCCESS
        }
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the only way to tell who started it")]
            {
                eprintln!("tideway-fake-node: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
