//! The asking side: all targets at once, several tries each, the fastest counts.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// What is spoken after the connection.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// One line each way, as `serve` speaks it.
    Tcp,
    /// HTTP/1.0 GET of `path`.
    Http,
    /// The same with a session token, which is asked for first, as the metadata service of AWS wants it.
    Imds,
    /// One datagram each way.
    Udp,
}

/// What should happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expectation {
    /// An answer.
    Ok,
    /// No connection.
    Denied,
}

/// One target.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Target {
    name: String,
    proto: Protocol,
    address: IpAddr,
    port: u16,
    /// For `http` and `imds`.
    #[serde(default)]
    path: String,
    /// For `udp`: our own port, so that all calls belong to one flow; 0: the kernel chooses.
    #[serde(default)]
    source_port: u16,
    /// For one try, in milliseconds.
    timeout_ms: u64,
    expect: Expectation,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    name: String,
    /// Whether every try was answered.
    answered: bool,
    /// Connect and first byte of the fastest try, in microseconds.
    latency_us: Option<u64>,
    /// The answer (HTTP: its body).
    reply: String,
    /// Why there was none.
    error: String,
}

/// Tries of a target that should answer; the fastest gives the latency, and one that fails makes the target fail.
const TRIES: usize = 5;

/// Denied targets wait for their time-out beside everything else; the others go one after the other, so that the
/// latencies are not those of our own crowd.
pub(crate) fn call_all(targets: Vec<Target>) -> Vec<Outcome> {
    let (denied, open): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|t| t.expect == Expectation::Denied);
    thread::scope(|scope| {
        let waiting: Vec<_> = denied.iter().map(|t| scope.spawn(move || call(t))).collect();
        let mut outcomes: Vec<Outcome> = open.iter().map(call).collect();
        outcomes.extend(waiting.into_iter().filter_map(|w| w.join().ok()));
        outcomes
    })
}

fn call(target: &Target) -> Outcome {
    let mut outcome = Outcome {
        name: target.name.clone(),
        answered: false,
        latency_us: None,
        reply: String::new(),
        error: String::new(),
    };
    let tries = if target.expect == Expectation::Denied { 1 } else { TRIES };
    for _ in 0..tries {
        match attempt(target) {
            Ok((latency, reply)) => {
                let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                outcome.latency_us = Some(outcome.latency_us.map_or(latency, |l| l.min(latency)));
                outcome.answered = true;
                outcome.reply = reply;
            }
            Err(error) => {
                outcome.error = error.to_string();
                outcome.answered = false;
                break;
            }
        }
    }
    outcome
}

/// Time from before the connection to the first byte, and the whole answer.
fn attempt(target: &Target) -> io::Result<(Duration, String)> {
    let limit = Duration::from_millis(target.timeout_ms.max(1));
    let address = SocketAddr::new(target.address, target.port);
    if matches!(target.proto, Protocol::Udp) {
        let started = Instant::now();
        let answer = ask_by_datagram(address, target.source_port, limit)?;
        return Ok((started.elapsed(), answer.trim().to_owned()));
    }
    let http = |method: &str, path: &str, header: &str| {
        let question =
            format!("{method} {path} HTTP/1.0\r\nHost: {}\r\n{header}\r\n", target.address);
        let (latency, answer) = ask(address, &question, limit)?;
        body(&answer).map(|body| (latency, body))
    };
    match target.proto {
        Protocol::Tcp | Protocol::Udp => {
            let (latency, answer) = ask(address, "hello\n", limit)?;
            Ok((latency, answer.trim().to_owned()))
        }
        Protocol::Http => http("GET", &target.path, ""),
        Protocol::Imds => {
            let life = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
            let (_, token) = http("PUT", "/latest/api/token", life)?;
            http("GET", &target.path, &format!("X-aws-ec2-metadata-token: {token}\r\n"))
        }
    }
}

fn ask(address: SocketAddr, question: &str, limit: Duration) -> io::Result<(Duration, String)> {
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(question.as_bytes())?;
    let mut first = [0u8; 1];
    stream.read_exact(&mut first)?;
    let latency = started.elapsed();
    let mut answer = first.to_vec();
    stream.take(64 * 1024).read_to_end(&mut answer).map(drop)?;
    Ok((latency, String::from_utf8_lossy(&answer).into_owned()))
}

fn ask_by_datagram(to: SocketAddr, source_port: u16, limit: Duration) -> io::Result<String> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, source_port))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(limit))?;
    socket.send(b"hello\n")?;
    let mut answer = [0u8; 512];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
}

/// The body of a 2xx answer.
fn body(answer: &str) -> io::Result<String> {
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("the answer is no HTTP"))?;
    let status = head.lines().next().unwrap_or_default();
    if !status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
        return Err(io::Error::other(status.to_owned()));
    }
    Ok(body.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_error_is_no_answer() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nA: b\r\n\r\ni-1\n").unwrap(), "i-1");
        assert!(body("HTTP/1.1 403 Forbidden\r\n\r\nno").unwrap_err().to_string().contains("403"));
        body("garbage").unwrap_err();
    }

    #[test]
    fn a_served_line_is_called_over_both_families() {
        let ports = [free_port()];
        thread::spawn(move || crate::serve::serve(&ports));
        for address in ["127.0.0.1", "::1"] {
            let target = |proto: &str| {
                serde_json::from_value::<Target>(serde_json::json!({
                    "name": "x", "proto": proto, "address": address, "port": ports[0], "timeoutMs": 2000, "expect": "ok",
                }))
                .unwrap()
            };
            let deadline = Instant::now() + Duration::from_secs(5);
            let outcome = loop {
                let outcome = call(&target("tcp"));
                if outcome.answered || Instant::now() > deadline {
                    break outcome;
                }
            };
            assert!(outcome.answered, "{}", outcome.error);
            assert!(outcome.reply.ends_with(&format!("{address} {address}")), "{}", outcome.reply);
            assert!(call(&target("http")).answered);
            let outcome = call(&target("udp"));
            assert!(
                outcome.answered && outcome.reply.ends_with(&format!("- {address}")),
                "{outcome:?}"
            );
            for way in [crate::bulk::Way::Fetch, crate::bulk::Way::Send] {
                crate::bulk::move_bytes(way, 100_000, address.parse().unwrap(), ports[0]).unwrap();
            }
        }
    }

    fn free_port() -> u16 {
        std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
    }
}
