use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Socket, Type};

/// What the manuals of all peers advise to ask for; the system may give less (`net.core.rmem_max`, `wmem_max`).
const BUFFER: usize = 8 << 20;

/// A UDP socket with large buffers.
pub fn socket(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}
