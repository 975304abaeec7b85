//! Sockets: one port number for TCP and UDP, and their options. The only file with platform calls.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::LazyLock;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::tls_stream::FEW;

/// How often a free number for both protocols is looked for when port 0 was asked for.
const PORT_ATTEMPTS: u32 = 64;
/// Connections waiting to be accepted.
const BACKLOG: i32 = 1024;
/// UDP buffers; the kernel may grant less. 2 MiB hold a burst of about 1,400 full packets.
const UDP_BUFFER: usize = 2 * 1024 * 1024;
/// The receive buffer asked for between two ends of one machine; Linux takes twice that, half of it for its own use.
const SAME_MACHINE_BUFFER: usize = 256 * 1024;
/// The congestion control between two ends of one machine: every Linux has it, and lets everybody choose it. BBR, where that is the
/// system's choice, spreads what is sent over time, with a timer for every 64 KiB, and here is no link that would thank for it.
const SAME_MACHINE_CONTROL: &[u8] = b"reno";
/// What Linux lets a process ask for as a socket's send buffer, and what it comes to by itself.
const MAY_ASK: &str = "/proc/sys/net/core/wmem_max";
const BY_ITSELF: &str = "/proc/sys/net/ipv4/tcp_wmem";

/// The system's choice of congestion control.
static USUAL_CONTROL: LazyLock<Option<Vec<u8>>> =
    LazyLock::new(|| Socket::new(Domain::IPV4, Type::STREAM, None).ok()?.tcp_congestion().ok());

/// Two sockets that listen on one port number.
pub(crate) struct Listening {
    pub(crate) tcp: std::net::TcpListener,
    pub(crate) udp: UdpSocket,
    pub(crate) address: SocketAddr,
}

/// Binds TCP and UDP to `address`; port 0 takes one free number for both.
//= S1.1
pub(crate) fn listen(address: SocketAddr) -> io::Result<Listening> {
    let attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..attempts {
        let tcp = listen_tcp(address)?;
        let bound = tcp.local_addr()?;
        match bind_udp(bound) {
            Ok(udp) => return Ok(Listening { tcp, udp, address: bound }),
            // Somebody else has the UDP port of this number: another free number may have both.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn listen_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server must not wait for the old one's connections to be forgotten.
    socket.set_reuse_address(true)?;
    unpaced(&socket);
    prepare(&socket, address)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connects to `address`, by TCP.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if address.ip().to_canonical().is_loopback() {
        unpaced(&SockRef::from(&socket));
    }
    socket.connect(address).await
}

/// Chooses the congestion control of one machine. That is for before a connection: a socket that BBR has begun keeps its timers. So a
/// listening socket chooses it, whoever is accepted inherits it, and a socket to another machine goes back in [`tune_accepted`].
fn unpaced(socket: &Socket) {
    if USUAL_CONTROL.is_some() {
        // A system that does not allow it has the usual one, and sends all the same.
        let _ = socket.set_tcp_congestion(SAME_MACHINE_CONTROL);
    }
}

/// Goes back to the system's choice.
fn usual(stream: &TcpStream) -> io::Result<()> {
    USUAL_CONTROL.as_ref().map_or(Ok(()), |usual| SockRef::from(stream).set_tcp_congestion(usual))
}

/// Binds a UDP socket with room for bursts.
pub(crate) fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(UDP_BUFFER)?;
    socket.set_send_buffer_size(UDP_BUFFER)?;
    prepare(&socket, address)?;
    Ok(socket.into())
}

/// The local address from which `remote` can be reached: any port of its family.
pub(crate) fn any_address_towards(remote: SocketAddr) -> SocketAddr {
    match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        // `[::]` serves both families; a specific address serves its own.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())
}

/// Small messages leave at once, and big ones do not fill the socket's buffer ahead of them.
pub(crate) fn tune_tcp(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if same_machine(stream.local_addr()?, stream.peer_addr()?) {
        // No link is the bottleneck here but the reader: the kernel would let as much as tcp_rmem allows (up to 32 MiB)
        // stand before it, and chat behind that. A window of 256 KiB is enough for a round trip that takes microseconds.
        socket.set_recv_buffer_size(SAME_MACHINE_BUFFER)?;
    }
    set_depth(stream, FEW)
}

/// The same for one that was accepted, and that a peer on another machine has the system's congestion control.
pub(crate) fn tune_accepted(stream: &TcpStream) -> io::Result<()> {
    tune_tcp(stream)?;
    if same_machine(stream.local_addr()?, stream.peer_addr()?) { Ok(()) } else { usual(stream) }
}

/// Lets a TCP socket hold so much on its way, where that is more than Linux comes to by itself and the system allows it: what is
/// asked for holds for good, and asking for what is not allowed would leave less than before.
pub(crate) fn widen(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    static LIMITS: LazyLock<Option<(usize, usize)>> = LazyLock::new(|| {
        // Both are of the network that this process is in; the second is the last of three numbers.
        let last = |path| std::fs::read_to_string(path).ok()?.split_whitespace().last()?.parse().ok();
        Some((last(MAY_ASK)?, last(BY_ITSELF)?))
    });
    match *LIMITS {
        // Linux takes twice what is asked for.
        Some((may_ask, by_itself)) if may_ask >= bytes && by_itself < 2 * bytes => {
            SockRef::from(stream).set_send_buffer_size(bytes)
        }
        _ => Ok(()),
    }
}

/// How many unsent bytes make a TCP socket one that is not writable: priorities decide late, so chat overtakes bulk.
pub(crate) fn set_depth(stream: &TcpStream, bytes: u32) -> io::Result<()> {
    SockRef::from(stream).set_tcp_notsent_lowat(bytes)
}

/// Whether both ends of a connection are on this machine.
fn same_machine(local: SocketAddr, remote: SocketAddr) -> bool {
    let (local, remote) = (local.ip().to_canonical(), remote.ip().to_canonical());
    remote.is_loopback() || local == remote
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Chat beside bulk waits for what the kernel holds unread: on one machine that is bounded from the first byte.
    #[tokio::test]
    async fn the_kernel_holds_little_unread_between_ends_of_one_machine() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        for end in [client, server] {
            tune_tcp(&end).unwrap();
            let buffer = SockRef::from(&end).recv_buffer_size().unwrap();
            assert!(buffer <= 2 * SAME_MACHINE_BUFFER, "{buffer} bytes");
        }
    }

    /// BBR's timers took a sixth of the processor time of a transfer, and a socket that it has begun keeps them.
    #[tokio::test]
    async fn between_ends_of_one_machine_nothing_is_paced_and_to_another_the_system_chooses() {
        let control = |end: &TcpStream| SockRef::from(end).tcp_congestion().unwrap();
        for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let Ok(listening) = listen((host, 0).into()) else {
                assert!(host.is_ipv6(), "IPv4 is everywhere");
                continue;
            };
            let listener = tokio::net::TcpListener::from_std(listening.tcp).unwrap();
            let client = connect(listening.address).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            for end in [&client, &server] {
                assert!(control(end).starts_with(SAME_MACHINE_CONTROL), "before anything is tuned");
                tune_accepted(end).unwrap();
                assert!(control(end).starts_with(SAME_MACHINE_CONTROL));
            }
            usual(&server).unwrap();
            let fresh = TcpSocket::new_v4().unwrap();
            assert_eq!(control(&server), SockRef::from(&fresh).tcp_congestion().unwrap());
        }
    }

    #[test]
    fn one_machine_is_told_by_its_addresses() {
        let pairs = [
            ("127.0.0.1:1", "127.0.0.1:2", true),
            ("[::1]:1", "[::1]:2", true),
            ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2", true),
            ("192.0.2.7:1", "192.0.2.7:2", true),
            ("192.0.2.7:1", "192.0.2.8:1", false),
            ("[2001:db8::1]:1", "[2001:db8::2]:1", false),
        ];
        for (local, remote, expected) in pairs {
            let same = same_machine(local.parse().unwrap(), remote.parse().unwrap());
            assert_eq!(same, expected, "{local} and {remote}");
        }
    }
}
