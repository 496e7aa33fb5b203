//! The answering side.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use crate::bulk;

/// How long a silent client is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves all ports, TCP and UDP, both families, until the process ends.
pub(crate) fn serve(ports: &[u16]) -> io::Result<()> {
    let listen = |port: &u16| wildcard(*port, TcpListener::bind);
    let listeners = ports.iter().map(listen).collect::<io::Result<Vec<_>>>()?;
    let listen = |port: &u16| wildcard(*port, UdpSocket::bind);
    let sockets = ports.iter().map(listen).collect::<io::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(move || answer_datagrams(socket));
        }
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
fn wildcard<T>(port: u16, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    bind(SocketAddr::from(([0u16; 8], port)))
        .or_else(|_| bind(SocketAddr::from(([0u8; 4], port))))
        .map_err(|e| io::Error::other(format!("port {port}: {e}")))
}

/// One line for each datagram; the kernel does not tell which of our addresses was meant.
fn answer_datagrams(socket: &UdpSocket) -> ! {
    let mut asked = [0u8; 512];
    loop {
        // Errors are those of earlier answers (a client's port is closed): the next datagram may come.
        let Ok((_bytes, client)) = socket.recv_from(&mut asked) else { continue };
        let line = format!("{} - {}\n", name(), client.ip().to_canonical());
        drop(socket.send_to(line.as_bytes(), client));
    }
}

/// One line for one line; a line that starts with `GET` gets it as an HTTP body, and orders of [`bulk`] are executed.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut asked = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    let _bytes = reader.read_line(&mut asked)?;
    if let Some(order) = bulk::order(&asked) {
        return bulk::serve(order, &mut reader, &mut stream);
    }
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
    let [local, client] = [local, client].map(|a| a.ip().to_canonical());
    format!("{} {local} {client}\n", name())
}

/// Name of the pod, or of the host.
fn name() -> String {
    let name = std::env::var("POD_NAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .unwrap_or_default();
    name.trim().to_owned()
}
