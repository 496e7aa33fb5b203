//! The answering side.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// How long a silent client is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves all ports, both families, until the process ends.
pub(crate) fn serve(ports: &[u16]) -> io::Result<()> {
    let listeners = ports.iter().map(|port| listen(*port)).collect::<io::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A client that went away is its own affair.
                    thread::spawn(move || drop(answer(stream)));
                }
            });
        }
    });
    Ok(())
}

/// `[::]` takes IPv4 too; a kernel without IPv6 gets the IPv4 wildcard.
fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from(([0u16; 8], port)))
        .or_else(|_| TcpListener::bind(SocketAddr::from(([0u8; 4], port))))
        .map_err(|e| io::Error::other(format!("port {port}: {e}")))
}

/// One line for one line; a line that starts with `GET` gets it as an HTTP body.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut asked = String::new();
    let _bytes = BufReader::new(stream.try_clone()?).read_line(&mut asked)?;
    let line = line(stream.local_addr()?, stream.peer_addr()?);
    let head = if asked.starts_with("GET ") {
        format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", line.len())
    } else {
        String::new()
    };
    stream.write_all(format!("{head}{line}").as_bytes())
}

/// `HOST LOCAL CLIENT`, the addresses without ports and in their own family.
fn line(local: SocketAddr, client: SocketAddr) -> String {
    let name = std::env::var("POD_NAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .unwrap_or_default();
    let [local, client] = [local, client].map(|a| a.ip().to_canonical());
    format!("{} {local} {client}\n", name.trim())
}
