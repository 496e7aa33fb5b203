//! The program in the tests' pods: serves one line that says who answered and whom it saw, and calls lists of targets.
//!
//! Static and blocking, one thread a connection: it starts in a millisecond and needs nothing of its image.
//! `tideway-probe serve [PORT...]` (default 8080, TCP and UDP) · `tideway-probe call < targets.json > results.json` ·
//! `tideway-probe move fetch|send BYTES ADDRESS PORT`

mod bulk;
mod call;
mod serve;

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
    str::FromStr,
};

const USAGE: &str = "usage: tideway-probe serve [PORT...] | call < targets.json | move fetch|send BYTES ADDRESS PORT";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match arguments.next().as_deref() {
        Some("serve") => serve_ports(arguments),
        Some("call") => call_targets(),
        Some("move") => move_bytes(arguments),
        _ => Err(io::Error::other(USAGE)),
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
    let ports = arguments.map(|a| parsed("port", &a)).collect::<io::Result<Vec<u16>>>()?;
    serve::serve(if ports.is_empty() { &[8080] } else { &ports })
}

fn call_targets() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let targets: Vec<call::Target> = serde_json::from_str(&text)?;
    print(&call::call_all(targets))
}

fn move_bytes(mut arguments: impl Iterator<Item = String>) -> io::Result<()> {
    let mut next = || arguments.next().ok_or_else(|| io::Error::other(USAGE));
    let (way, bytes) = (next()?.parse()?, parsed("bytes", &next()?)?);
    let (address, port) = (parsed("address", &next()?)?, parsed("port", &next()?)?);
    print(&bulk::move_bytes(way, bytes, address, port)?)
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> io::Result<T> {
    text.parse().map_err(|e| io::Error::other(format!("{what} {text:?}: {e}")))
}

fn print(results: &impl serde::Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, results)?;
    writeln!(out)
}
