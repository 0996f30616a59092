//! UDP sockets of this machine: what they can do on loopback, and how much they hold.

use super::Findings;
use super::check::Check;
use super::wire::{Arrived, Wire};
use crate::units;
use quinn_udp::{EcnCodepoint, RecvMeta};
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// What a sender at 10 Gbit/s fills within the 6 ms that a busy reader may be away.
const BUFFER: usize = 8 << 20;

/// How long a datagram may take over loopback.
const LIMIT: Duration = Duration::from_secs(1);

/// Datagrams that are sent in one call, and the bytes of each.
const SEGMENTS: usize = 4;
const SEGMENT: usize = 1_000;

/// Checks them all.
pub(super) async fn examine(findings: &mut Findings) {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    match Pair::over(v4) {
        Ok(mut pair) => {
            findings.add(pair.passes("udp-ipv4").await);
            findings.add(pair.segmentation().await);
            findings.add(pair.coalescing());
            findings.add(pair.ecn("ecn-ipv4").await);
            findings.add(pair.fragmentation());
            findings.add(pair.receive_buffer());
            findings.add(pair.send_buffer());
        }
        Err(error) => findings.add(
            Check::broken("udp-ipv4", format!("no socket on 127.0.0.1: {error}"))
                .remedy("let this program use UDP sockets (sandbox, firewall, file limit)"),
        ),
    }
    match Pair::over(v6) {
        Ok(mut pair) => {
            findings.add(pair.passes("udp-ipv6").await);
            findings.add(pair.ecn("ecn-ipv6").await);
        }
        Err(error) => findings.add(
            Check::limited("udp-ipv6", format!("no socket on ::1: {error}"))
                .remedy("switch IPv6 on to reach peers that have nothing else"),
        ),
    }
}

/// Two sockets on loopback.
struct Pair {
    from: Wire,
    to: Wire,
    address: SocketAddr,
}

impl Pair {
    fn over(address: SocketAddr) -> io::Result<Self> {
        let (from, to) = (Wire::bind(address)?, Wire::bind(address)?);
        let address = to.socket.local_addr()?;
        Ok(Self { from, to, address })
    }

    async fn receive(&mut self) -> Result<(Vec<u8>, RecvMeta), String> {
        match self.to.receive(Instant::now() + LIMIT).await {
            Arrived::Datagrams(bytes, meta) => Ok((bytes, meta)),
            Arrived::Error(error) => Err(format!("the system reports {error:?}")),
            Arrived::Nothing => Err(format!("nothing arrived within {}", units::time(LIMIT))),
        }
    }

    async fn round(&mut self, ecn: Option<EcnCodepoint>) -> Result<RecvMeta, String> {
        let sent = self.from.send(self.address, b"weir doctor", ecn, None);
        sent.map_err(|error| format!("sending failed: {error}"))?;
        let (bytes, meta) = self.receive().await?;
        if bytes == b"weir doctor" {
            return Ok(meta);
        }
        Err("something else arrived".to_owned())
    }

    async fn passes(&mut self, name: &'static str) -> Check {
        match self.round(None).await {
            Ok(_) => Check::ok(name, "a datagram crosses loopback"),
            Err(why) => Check::broken(name, format!("no datagram crosses loopback: {why}"))
                .remedy("look for a firewall rule on the loopback interface"),
        }
    }

    /// Several datagrams in one call of the system's.
    async fn segmentation(&mut self) -> Check {
        let most = self.from.state.max_gso_segments();
        let none = |found: String| {
            Check::limited("gso", found)
                .remedy("Linux 4.18 or newer; without it each datagram is a call of its own")
                .figure("segments", most)
        };
        if most < SEGMENTS {
            return none("sending several datagrams in one call is not offered".to_owned());
        }
        let run = vec![7; SEGMENTS * SEGMENT];
        if let Err(error) = self.from.send(self.address, &run, None, Some(SEGMENT)) {
            return none(format!(
                "sending several datagrams in one call fails: {error}"
            ));
        }
        let mut arrived = 0;
        while arrived < run.len() {
            match self.receive().await {
                Ok((bytes, _)) => arrived += bytes.len(),
                Err(why) => return none(format!("of {SEGMENTS} datagrams not all came: {why}")),
            }
        }
        Check::ok("gso", format!("up to {most} datagrams in one call")).figure("segments", most)
    }

    fn coalescing(&self) -> Check {
        let most = self.to.state.gro_segments();
        if most > 1 {
            return Check::ok("gro", format!("up to {most} datagrams in one read"))
                .figure("segments", most);
        }
        Check::limited("gro", "reading several datagrams as one is not offered")
            .remedy("Linux 5.0 or newer; without it each datagram is read by itself")
            .figure("segments", most)
    }

    async fn ecn(&mut self, name: &'static str) -> Check {
        let without = |found: String| {
            Check::limited(name, found)
                .remedy("congestion will be noticed by loss alone; nothing else suffers")
        };
        for mark in [EcnCodepoint::Ect0, EcnCodepoint::Ect1, EcnCodepoint::Ce] {
            match self.round(Some(mark)).await {
                Ok(meta) if meta.ecn == Some(mark) => {}
                Ok(meta) => {
                    let found = format!("{mark:?} was written and {:?} read", meta.ecn);
                    return without(found);
                }
                Err(why) => return without(format!("a marked datagram did not come: {why}")),
            }
        }
        Check::ok(name, "marks are written and read")
    }

    fn fragmentation(&self) -> Check {
        if self.from.state.may_fragment() {
            return Check::limited("dont-fragment", "the bit cannot be set").remedy(
                "packets stay at 1,200 bytes: a larger one that passes proves nothing here",
            );
        }
        Check::ok("dont-fragment", "the bit is set on what is sent")
    }

    fn receive_buffer(&self) -> Check {
        let socket = SockRef::from(&self.to.socket);
        // What the system grants is read back.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let knob = Knob {
            check: "receive-buffer",
            linux: "net.core.rmem_max",
        };
        knob.judge(socket.recv_buffer_size())
    }

    fn send_buffer(&self) -> Check {
        let socket = SockRef::from(&self.from.socket);
        let _ = socket.set_send_buffer_size(BUFFER);
        let knob = Knob {
            check: "send-buffer",
            linux: "net.core.wmem_max",
        };
        knob.judge(socket.send_buffer_size())
    }
}

/// A bound of the system's on socket buffers.
struct Knob {
    check: &'static str,
    /// Its name on Linux.
    linux: &'static str,
}

impl Knob {
    fn judge(&self, read_back: io::Result<usize>) -> Check {
        let wanted = units::bytes(BUFFER as u64);
        let granted = match read_back {
            // Linux counts its own bookkeeping in, and doubles what it was asked for.
            Ok(size) if cfg!(target_os = "linux") => size / 2,
            Ok(size) => size,
            Err(error) => {
                return Check::limited(self.check, format!("the size cannot be read: {error}"));
            }
        };
        let figures = |check: Check| {
            check
                .figure("bytes", granted)
                .figure("wanted_bytes", BUFFER)
        };
        if granted >= BUFFER {
            return figures(Check::ok(self.check, format!("{wanted} granted")));
        }
        let found = format!("{} of the {wanted} asked for", units::bytes(granted as u64));
        figures(Check::limited(self.check, found).remedy(self.remedy()))
    }

    fn remedy(&self) -> String {
        if cfg!(target_os = "linux") {
            format!(
                "sudo sysctl -w {0}={BUFFER}, and `{0} = {BUFFER}` in /etc/sysctl.d/weir.conf to keep it",
                self.linux
            )
        } else {
            format!("raise the system's bound to {BUFFER} (kern.ipc.maxsockbuf on BSD and macOS)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    const KNOB: Knob = Knob {
        check: "receive-buffer",
        linux: "net.core.rmem_max",
    };

    #[test]
    #[cfg(target_os = "linux")]
    fn a_small_buffer_names_the_setting_and_its_value() {
        let check = KNOB.judge(Ok(2 * 212_992));
        assert_eq!(check.verdict, Verdict::Limited);
        assert_eq!(check.found, "208 KiB of the 8 MiB asked for");
        let remedy = check.remedy.unwrap();
        assert!(
            remedy.starts_with("sudo sysctl -w net.core.rmem_max=8388608"),
            "{remedy}"
        );
        assert_eq!(check.figures.get("bytes"), Some(&212_992));
    }

    #[test]
    fn a_large_buffer_is_all_right() {
        let check = KNOB.judge(Ok(2 * BUFFER));
        assert_eq!((check.verdict, check.remedy), (Verdict::Ok, None));
    }

    #[tokio::test]
    async fn datagrams_and_marks_cross_loopback_here() {
        let mut pair = Pair::over(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        assert_eq!(pair.passes("udp-ipv4").await.verdict, Verdict::Ok);
        let offered = pair.from.state.max_gso_segments() >= SEGMENTS;
        assert_eq!(pair.segmentation().await.verdict == Verdict::Ok, offered);
        // Nothing is left over from one check for the next.
        assert_eq!(pair.passes("udp-ipv4").await.verdict, Verdict::Ok);
    }

    #[tokio::test]
    async fn a_datagram_that_does_not_come_is_broken_and_says_so() {
        let mut pair = Pair::over(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        // Sent to a socket that nobody reads.
        let elsewhere = Wire::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        pair.address = elsewhere.socket.local_addr().unwrap();
        let check = pair.passes("udp-ipv4").await;
        assert_eq!(check.verdict, Verdict::Broken);
        assert!(
            check.found.contains("nothing arrived within 1 s"),
            "{}",
            check.found
        );
    }
}
