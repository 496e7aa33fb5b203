//! Bytes in bulk, to measure a rate: fetched from a server, or sent to it, over one connection.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    str::FromStr,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Longest silence of the other side.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of one write or read.
const PIECE: usize = 64 * 1024;

/// Which way the bytes go, as the calling side sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Towards the caller.
    Fetch,
    /// From the caller.
    Send,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Fetch => "FETCH",
            Self::Send => "SEND",
        }
    }
}

impl FromStr for Way {
    type Err = io::Error;
    fn from_str(text: &str) -> io::Result<Self> {
        [Self::Fetch, Self::Send]
            .into_iter()
            .find(|way| way.word().eq_ignore_ascii_case(text))
            .ok_or_else(|| io::Error::other(format!("{text:?}: fetch or send is expected")))
    }
}

/// What was moved, in how long.
#[derive(Debug, Serialize)]
pub(crate) struct Moved {
    bytes: u64,
    /// From the request to the last byte; when sending, to the server's word that it has them all.
    seconds: f64,
}

/// The order in the first line of a connection, `FETCH BYTES` or `SEND BYTES`.
pub(crate) fn order(line: &str) -> Option<(Way, u64)> {
    let (way, bytes) = line.trim().split_once(' ')?;
    Some((way.parse().ok()?, bytes.parse().ok()?))
}

/// The serving side of an order; `rest` is what comes after the first line.
pub(crate) fn serve(
    (way, bytes): (Way, u64),
    rest: &mut impl Read,
    out: &mut impl Write,
) -> io::Result<()> {
    match way {
        Way::Fetch => write_all(out, bytes),
        Way::Send => {
            read_all(rest, bytes)?;
            out.write_all(b"taken\n")
        }
    }
}

/// The calling side.
pub(crate) fn move_bytes(way: Way, bytes: u64, to: IpAddr, port: u16) -> io::Result<Moved> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let started = Instant::now();
    writeln!(stream, "{} {bytes}", way.word())?;
    match way {
        Way::Fetch => read_all(&mut stream, bytes)?,
        Way::Send => {
            write_all(&mut stream, bytes)?;
            let mut taken = String::new();
            BufReader::new(stream).read_line(&mut taken)?;
            if taken != "taken\n" {
                return Err(io::Error::other("the server did not take all bytes"));
            }
        }
    }
    Ok(Moved { bytes, seconds: started.elapsed().as_secs_f64() })
}

fn write_all(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), &mut io::BufWriter::with_capacity(PIECE, out))
        .map(drop)
}

fn read_all(from: &mut impl Read, bytes: u64) -> io::Result<()> {
    let mut from = BufReader::with_capacity(PIECE, from.take(bytes));
    let came = io::copy(&mut from, &mut io::sink())?;
    if came == bytes {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{came} of {bytes} bytes came")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_no_order() {
        assert_eq!(order("FETCH 10\n"), Some((Way::Fetch, 10)));
        assert_eq!(order("SEND 0\n"), Some((Way::Send, 0)));
        for line in ["hello\n", "GET / HTTP/1.0\n", "FETCH -1\n", "FETCH"] {
            assert_eq!(order(line), None, "{line}");
        }
    }

    #[test]
    fn bytes_that_do_not_all_come_are_an_error() {
        let mut out = Vec::new();
        serve((Way::Fetch, 100_000), &mut io::empty(), &mut out).unwrap();
        assert_eq!(out.len(), 100_000);
        serve((Way::Send, 5), &mut &b"12345"[..], &mut out).unwrap();
        assert!(out.ends_with(b"taken\n"));
        serve((Way::Send, 6), &mut &b"12345"[..], &mut out).unwrap_err();
    }
}
