//! TCP socket options that the standard library lacks, with errors that say which option was
//! refused.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

#[cfg(unix)]
use std::os::fd::AsFd as AsSocket;
#[cfg(windows)]
use std::os::windows::io::AsSocket;

/// An option or operation that the system refused on a socket.
#[derive(Debug)]
pub struct SocketError {
    doing: String,
    hint: Option<String>,
    source: io::Error,
}

impl SocketError {
    fn new(doing: impl Into<String>, source: io::Error) -> Self {
        SocketError {
            doing: doing.into(),
            hint: None,
            source,
        }
    }

    /// The system's own error.
    pub fn io(&self) -> &io::Error {
        &self.source
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.source)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<SocketError> for io::Error {
    fn from(error: SocketError) -> Self {
        io::Error::new(error.source.kind(), error)
    }
}

/// What to ask of a TCP socket. [`TcpOptions::default`] asks for nothing but `TCP_NODELAY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Send small segments at once (`TCP_NODELAY`): a multiplexer batches by itself, and waiting
    /// for an acknowledgement would add a round trip to every small request.
    pub nodelay: bool,
    /// Congestion control by the kernel's name for it (`cubic`, `bbr`, ..); `None` leaves the
    /// system's default.
    pub congestion: Option<String>,
    /// `TCP_USER_TIMEOUT` (RFC 5482): how long sent data may stay unacknowledged before the kernel
    /// gives the connection up.
    pub user_timeout: Option<Duration>,
    /// Probe an idle connection after this long, and then at a tenth of it, so that a vanished peer
    /// is noticed after about twice this time (RFC 9293 3.8.4).
    pub keepalive: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions {
            nodelay: true,
            congestion: None,
            user_timeout: None,
            keepalive: None,
        }
    }
}

impl TcpOptions {
    /// Sets these options on a TCP socket (std's, tokio's or socket2's).
    ///
    /// # Errors
    /// The first option that the system refuses.
    pub fn apply<S: AsSocket>(&self, socket: &S) -> Result<(), SocketError> {
        if self.nodelay {
            SockRef::from(socket)
                .set_tcp_nodelay(true)
                .map_err(|e| SocketError::new("set TCP_NODELAY", e))?;
        }
        if let Some(name) = &self.congestion {
            set_congestion(socket, name)?;
        }
        if let Some(timeout) = self.user_timeout {
            set_user_timeout(socket, timeout)?;
        }
        if let Some(idle) = self.keepalive {
            let interval = (idle / KEEPALIVE_PROBES).max(Duration::from_secs(1));
            let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
            SockRef::from(socket)
                .set_tcp_keepalive(&keepalive)
                .map_err(|e| SocketError::new(format!("set keepalive of {idle:?}"), e))?;
        }
        Ok(())
    }
}

/// Linux gives up after nine unanswered probes (`tcp_keepalive_probes`); ten makes the sum a round
/// one.
const KEEPALIVE_PROBES: u32 = 10;

/// Chooses the congestion control of a socket by the kernel's name for it.
///
/// # Errors
/// When the kernel does not offer it; the error lists what it offers. Elsewhere than on Linux:
/// [`io::ErrorKind::Unsupported`].
pub fn set_congestion<S: AsSocket>(socket: &S, name: &str) -> Result<(), SocketError> {
    let doing = format!("set congestion control `{name}`");
    system::set(socket, name).map_err(|source| {
        let mut error = SocketError::new(doing, source);
        error.hint = system::available().map(|list| format!("this kernel offers: {list}"));
        error
    })
}

/// Sets `TCP_USER_TIMEOUT` (RFC 5482), in milliseconds' precision.
///
/// # Errors
/// When the system refuses; elsewhere than on Linux: [`io::ErrorKind::Unsupported`].
pub fn set_user_timeout<S: AsSocket>(socket: &S, timeout: Duration) -> Result<(), SocketError> {
    system::user_timeout(socket, timeout)
        .map_err(|e| SocketError::new(format!("set TCP_USER_TIMEOUT of {timeout:?}"), e))
}

/// Makes the next close of this socket a reset instead of an orderly end (linger of zero): what an
/// aborted stream becomes at the far side of a tunnel. Unsent data is thrown away.
///
/// # Errors
/// When the system refuses.
pub fn reset_on_close<S: AsSocket>(socket: &S) -> Result<(), SocketError> {
    SockRef::from(socket)
        .set_linger(Some(Duration::ZERO))
        .map_err(|e| SocketError::new("set SO_LINGER to zero", e))
}

/// Has the system tell no time with each datagram that it receives (Linux: `SO_TIMESTAMPNS`). What it
/// tells about a datagram has a bound, and a time that nobody asks for can push its ECN mark out.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn without_timestamps<S: AsSocket>(socket: &S) -> Result<(), SocketError> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use nix::sys::socket::{setsockopt, sockopt};
        setsockopt(socket, sockopt::ReceiveTimestampns, &false)
            .map_err(|e| SocketError::new("switch SO_TIMESTAMPNS off", e.into()))?;
    }
    let _ = socket;
    Ok(())
}

/// How a listener is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted. 1024 rides out a burst of reconnecting peers.
    pub backlog: i32,
    /// Let several sockets listen on one address, the kernel spreading connections over them
    /// (`SO_REUSEPORT`).
    pub reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            backlog: 1024,
            reuse_port: false,
        }
    }
}

/// Opens a non-blocking TCP listener. `[::]:port` also takes IPv4 where the system allows both.
/// Congestion control and the like are set on the accepted sockets, or here to be inherited.
///
/// # Errors
/// Names the address and the step that failed.
pub fn listen(
    addr: SocketAddr,
    options: &ListenOptions,
    tcp: &TcpOptions,
) -> Result<TcpListener, SocketError> {
    let fail = |e| SocketError::new(format!("listen on {addr}"), e);
    let socket =
        Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).map_err(fail)?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false).map_err(fail)?;
    }
    // Without it a restarted listener would wait for the connections of its predecessor to time
    // out.
    #[cfg(unix)]
    socket.set_reuse_address(true).map_err(fail)?;
    if options.reuse_port {
        reuse_port(&socket).map_err(|e| SocketError::new("set SO_REUSEPORT", e))?;
    }
    tcp.apply(&socket)?;
    socket.bind(&addr.into()).map_err(fail)?;
    socket.listen(options.backlog).map_err(fail)?;
    socket.set_nonblocking(true).map_err(fail)?;
    Ok(socket.into())
}

#[cfg(all(unix, not(target_os = "solaris"), not(target_os = "illumos")))]
fn reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(unix, not(target_os = "solaris"), not(target_os = "illumos"))))]
fn reuse_port(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod system {
    use super::{AsSocket, Duration, SockRef, io};

    pub(super) fn set<S: AsSocket>(socket: &S, name: &str) -> io::Result<()> {
        SockRef::from(socket).set_tcp_congestion(name.as_bytes())
    }

    pub(super) fn available() -> Option<String> {
        let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        let list = std::fs::read_to_string(path).ok()?;
        Some(list.trim().to_owned())
    }

    pub(super) fn user_timeout<S: AsSocket>(socket: &S, timeout: Duration) -> io::Result<()> {
        SockRef::from(socket).set_tcp_user_timeout(Some(timeout))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{AsSocket, Duration, io};

    pub(super) fn set<S: AsSocket>(_socket: &S, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn available() -> Option<String> {
        None
    }

    pub(super) fn user_timeout<S: AsSocket>(_socket: &S, _timeout: Duration) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(loopback()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn options_are_on_the_socket_afterwards() {
        let (client, _server) = pair();
        let options = TcpOptions {
            congestion: Some("reno".into()),
            user_timeout: Some(Duration::from_secs(7)),
            keepalive: Some(Duration::from_secs(30)),
            ..TcpOptions::default()
        };
        options.apply(&client).unwrap();
        let socket = SockRef::from(&client);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.tcp_congestion().unwrap().starts_with(b"reno"));
        let timeout = socket.tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(Duration::from_secs(7)));
        assert!(socket.keepalive().unwrap());
        let idle = socket.tcp_keepalive_time().unwrap();
        assert_eq!(idle, Duration::from_secs(30));
        let interval = socket.tcp_keepalive_interval().unwrap();
        assert_eq!(interval, Duration::from_secs(3));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn unknown_congestion_control_says_what_there_is() {
        let (client, _server) = pair();
        let error = set_congestion(&client, "no-such-cc").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`no-such-cc`") && text.contains("this kernel offers"),
            "{text}"
        );
        assert_eq!(error.io().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    #[cfg(unix)]
    fn two_listeners_share_a_port_only_when_asked() {
        let shared = ListenOptions {
            reuse_port: true,
            ..ListenOptions::default()
        };
        let tcp = TcpOptions::default();
        let first = listen(loopback(), &shared, &tcp).unwrap();
        let addr = first.local_addr().unwrap();
        let second = listen(addr, &shared, &tcp).unwrap();
        assert_eq!(second.local_addr().unwrap(), addr);

        let error = listen(addr, &ListenOptions::default(), &tcp).unwrap_err();
        assert_eq!(error.io().kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }

    #[test]
    fn closing_after_reset_on_close_resets_the_peer() {
        let (client, mut server) = pair();
        reset_on_close(&client).unwrap();
        drop(client);
        let error = server.read(&mut [0u8; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(server.write(b"x").is_err());
    }
}
