//! A UDP socket that is waited for.

use crate::Fault;
use quiche::{Connection, Error};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// What a wait ended with.
pub enum Heard {
    Datagram(usize, SocketAddr),
    Nothing,
}

pub struct Socket {
    udp: UdpSocket,
    pub local: SocketAddr,
    out: [u8; 1500],
}

impl Socket {
    pub fn bind(address: SocketAddr) -> Result<Socket, Fault> {
        let udp = UdpSocket::bind(address)?;
        let local = udp.local_addr()?;
        Ok(Socket {
            udp,
            local,
            out: [0; 1500],
        })
    }

    /// Waits for a datagram, or for the time to be over.
    pub fn hear(&self, buffer: &mut [u8], wait: Option<Duration>) -> Result<Heard, Fault> {
        // Zero would mean for ever.
        let wait = wait.unwrap_or(Duration::from_secs(1));
        self.udp
            .set_read_timeout(Some(wait.max(Duration::from_micros(100))))?;
        match self.udp.recv_from(buffer) {
            Ok((length, from)) => Ok(Heard::Datagram(length, from)),
            // A refusal is about a datagram that was sent, and may be of another connection.
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock
                | ErrorKind::TimedOut
                | ErrorKind::Interrupted
                | ErrorKind::ConnectionRefused => Ok(Heard::Nothing),
                _ => Err(error.into()),
            },
        }
    }

    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> Result<(), Fault> {
        self.udp.send_to(datagram, to)?;
        Ok(())
    }

    /// Sends all that a connection has.
    pub fn flush(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        loop {
            match connection.send(&mut self.out) {
                Ok((length, info)) => self.udp.send_to(&self.out[..length], info.to)?,
                Err(Error::Done) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        }
    }
}
