//! The header before each datagram between a SOCKS client and its proxy (RFC 1928 section 7).

use std::net::SocketAddr;

use crate::tunnel::destination::{
    Destination, DestinationError, Host, Reader, read_destination, write_host_port,
};

/// Why a client's datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("cut short")]
    Truncated,
    /// RFC 1928 section 7: an implementation that does not put fragments together drops them.
    #[error("fragments are not put together")]
    Fragment,
    #[error("{0}")]
    Destination(#[from] DestinationError),
}

/// Where a client's datagram is to go, and its payload.
pub(crate) fn read(datagram: &[u8]) -> Result<(Destination, &[u8]), Unusable> {
    let mut reader = Reader(datagram);
    let [_, _, fragment] = reader.array::<3>().ok_or(Unusable::Truncated)?;
    if fragment != 0 {
        return Err(Unusable::Fragment);
    }
    let to = read_destination(&mut reader)?;
    Ok((to, reader.0))
}

/// The header of a datagram that came from `source`.
pub(crate) fn write(source: SocketAddr) -> Vec<u8> {
    let mut header = vec![0, 0, 0];
    write_host_port(&mut header, &Host::from(source.ip()), source.port());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::destination::tests::any_destination;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_client_sends_is_read(to in any_destination(), payload in any::<Vec<u8>>(), reserved in any::<[u8; 2]>()) {
            let mut wire = vec![reserved[0], reserved[1], 0];
            write_host_port(&mut wire, &to.host, to.port);
            let header = wire.len();
            for cut in 0..header {
                prop_assert!(read(&wire[..cut]).is_err());
            }
            wire.extend_from_slice(&payload);
            prop_assert_eq!(read(&wire), Ok((to.clone(), &payload[..])));
            // RFC 1928 section 7: a datagram that is not a whole one is dropped.
            wire[2] = 1;
            prop_assert_eq!(read(&wire), Err(Unusable::Fragment));
        }

        #[test]
        fn hostile_bytes(wire in any::<Vec<u8>>()) {
            let _ = read(&wire);
        }
    }

    #[test]
    fn headers_name_the_source() {
        assert_eq!(
            write("192.0.2.1:53".parse().unwrap()),
            [0, 0, 0, 1, 192, 0, 2, 1, 0, 53]
        );
        let six = write("[2001:db8::1]:53".parse().unwrap());
        assert_eq!((six.len(), six[3]), (22, 4));
        assert_eq!(
            read(&[0, 0, 0, 1, 127, 0, 0, 1, 0, 0]),
            Err(DestinationError::Port.into())
        );
    }
}
