//! What the network reports about datagrams that did not get through (ICMP, RFC 792 and RFC 4443), as
//! Linux keeps it in a socket's error queue. Elsewhere nothing is reported.

use std::io;
use std::net::SocketAddr;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use queue::{next, report};

/// A datagram did not get through.
#[derive(Debug)]
pub struct Report {
    /// Where the datagram was sent to.
    pub to: SocketAddr,
    /// Why, in the system's words: refused, unreachable, too large, not permitted.
    pub error: io::Error,
    /// How many bytes of the datagram's payload were quoted: routers quote some or all of it, few
    /// quote none.
    pub quoted: usize,
}

/// The system's number of an error about a path, for those who tell of paths that are not the system's;
/// `None` for errors of other kinds.
#[must_use]
pub fn error_number(kind: io::ErrorKind) -> Option<i32> {
    #[cfg(unix)]
    let [refused, host, network, prohibited] = {
        use nix::libc::{EACCES, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH};
        [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EACCES]
    };
    // WSAECONNREFUSED, WSAEHOSTUNREACH, WSAENETUNREACH, WSAEACCES of Windows Sockets.
    #[cfg(windows)]
    let [refused, host, network, prohibited] = [10061, 10065, 10051, 10013];
    match kind {
        io::ErrorKind::ConnectionRefused => Some(refused),
        io::ErrorKind::HostUnreachable => Some(host),
        io::ErrorKind::NetworkUnreachable => Some(network),
        io::ErrorKind::PermissionDenied => Some(prohibited),
        _ => None,
    }
}

/// Does nothing on this system.
///
/// # Errors
/// Never.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn report<S>(_: &S, _: bool) -> io::Result<()> {
    Ok(())
}

/// Nothing on this system.
///
/// # Errors
/// Never.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn next<S>(_: &S, _: &mut [u8]) -> io::Result<Option<Report>> {
    Ok(None)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod queue {
    use std::io::{self, IoSliceMut};
    use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::{AsFd, AsRawFd};

    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage, recvmsg, setsockopt, sockopt,
    };
    use socket2::SockRef;

    use super::Report;

    /// Room for what the system tells beside a report: the report itself and who sent it, and what
    /// is told with every datagram.
    const ROOM: usize = 512;
    /// Origins of reports that are about the network (`linux/errqueue.h`): this machine's own stack,
    /// ICMP, ICMPv6.
    const ORIGINS: [u8; 3] = [
        libc::SO_EE_ORIGIN_LOCAL,
        libc::SO_EE_ORIGIN_ICMP,
        libc::SO_EE_ORIGIN_ICMP6,
    ];

    /// Has the system keep reports for `socket`, or not any more: then those that it has are dropped.
    /// While it does, any call on the socket may fail with an error that is a report's.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn report<S: AsFd>(socket: &S, on: bool) -> io::Result<()> {
        setsockopt(socket, sockopt::Ipv4RecvErr, &on)?;
        match setsockopt(socket, sockopt::Ipv6RecvErr, &on) {
            // A socket of IPv4 alone.
            Ok(()) | Err(Errno::ENOPROTOOPT) => {}
            Err(error) => return Err(error.into()),
        }
        if !on {
            // The error that the next call would fail with goes with the reports.
            let _ = SockRef::from(socket).take_error()?;
        }
        Ok(())
    }

    /// The next report, and in `quoted` the beginning of the datagram that it is about; `None` when
    /// there is none.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub fn next<S: AsFd>(socket: &S, quoted: &mut [u8]) -> io::Result<Option<Report>> {
        let mut room = vec![0; ROOM];
        loop {
            let mut slices = [IoSliceMut::new(quoted)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let fd = socket.as_fd().as_raw_fd();
            let message = match recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut room), flags)
            {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut told = message.cmsgs()?.filter_map(|told| match told {
                ControlMessageOwned::Ipv4RecvErr(error, _)
                | ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error),
                _ => None,
            });
            let about = told
                .next()
                .filter(|error| ORIGINS.contains(&error.ee_origin));
            let (Some(error), Some(to)) = (about, message.address.and_then(address)) else {
                continue;
            };
            return Ok(Some(Report {
                to,
                error: io::Error::from_raw_os_error(error.ee_errno.cast_signed()),
                quoted: message.bytes,
            }));
        }
    }

    fn address(storage: SockaddrStorage) -> Option<SocketAddr> {
        // The family says which of them it is; an empty name has none.
        storage.family()?;
        if let Some(v4) = storage.as_sockaddr_in() {
            return Some(SocketAddrV4::from(*v4).into());
        }
        let v6 = SocketAddrV6::from(*storage.as_sockaddr_in6()?);
        Some(match v6.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::new(ip.into(), v6.port()),
            IpAddr::V6(_) => v6.into(),
        })
    }

    #[cfg(test)]
    mod tests {
        use std::net::UdpSocket;
        use std::time::{Duration, Instant};

        use super::*;

        /// The first report.
        fn soon(socket: &UdpSocket, quoted: &mut [u8]) -> Report {
            let began = Instant::now();
            loop {
                if let Some(report) = next(socket, quoted).unwrap() {
                    return report;
                }
                assert!(
                    began.elapsed() < Duration::from_secs(120),
                    "nothing reported"
                );
                std::thread::sleep(Duration::from_millis(2));
            }
        }

        /// A port where nobody listens, and the socket that keeps it: datagrams of others are not for it,
        /// since it is connected to itself.
        fn closed() -> (UdpSocket, SocketAddr) {
            let held = UdpSocket::bind("127.0.0.1:0").unwrap();
            let addr = held.local_addr().unwrap();
            held.connect(addr).unwrap();
            (held, addr)
        }

        #[test]
        fn a_closed_port_is_reported_with_what_was_sent_to_it() {
            let (_held, to) = closed();
            for (bind, name) in [("127.0.0.1:0", to), ("[::]:0", mapped(to))] {
                let Ok(socket) = UdpSocket::bind(bind) else {
                    println!("not tried: {bind} cannot be had here");
                    continue;
                };
                report(&socket, true).unwrap();
                socket.send_to(b"anybody there?", name).unwrap();
                let mut quoted = [0; 8];
                let report = soon(&socket, &mut quoted);
                assert_eq!(report.to, to);
                assert_eq!(report.error.kind(), io::ErrorKind::ConnectionRefused);
                assert_eq!(quoted.get(..report.quoted), Some(&b"anybody "[..]));
                assert!(next(&socket, &mut quoted).unwrap().is_none());
            }
        }

        #[test]
        fn what_is_not_asked_for_is_not_reported() {
            let (_held, closed) = closed();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            report(&socket, true).unwrap();
            socket.send_to(b"x", closed).unwrap();
            soon(&socket, &mut [0; 8]);
            socket.send_to(b"x", closed).unwrap();
            report(&socket, false).unwrap();
            socket.send_to(b"x", closed).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert!(next(&socket, &mut [0; 8]).unwrap().is_none());
        }

        fn mapped(to: SocketAddr) -> SocketAddr {
            let IpAddr::V4(ip) = to.ip() else { return to };
            SocketAddr::from((ip.to_ipv6_mapped(), to.port()))
        }
    }
}
