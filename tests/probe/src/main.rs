//! The program in the demo's pods: serves one line that says who answered and whom it saw, and calls lists of targets.
//!
//! Static and blocking, one thread a connection: it starts in a millisecond and needs nothing of its image.
//! `tideway-probe serve [PORT...]` (default 8080) · `tideway-probe call < targets.json > results.json`

mod call;
mod serve;

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match arguments.next().as_deref() {
        Some("serve") => serve_ports(arguments),
        Some("call") => call_targets(),
        _ => Err(io::Error::other("usage: tideway-probe serve [PORT...] | call < targets.json")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be gone; the exit status still says it.
            drop(writeln!(io::stderr(), "tideway-probe: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve_ports(arguments: impl Iterator<Item = String>) -> io::Result<()> {
    let ports = arguments
        .map(|a| a.parse::<u16>().map_err(|e| io::Error::other(format!("port {a:?}: {e}"))))
        .collect::<io::Result<Vec<u16>>>()?;
    serve::serve(if ports.is_empty() { &[8080] } else { &ports })
}

fn call_targets() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let targets: Vec<call::Target> = serde_json::from_str(&text)?;
    let results = call::call_all(targets);
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &results)?;
    writeln!(out)
}
