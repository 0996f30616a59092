//! What one receiving call brings.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use tokio::net::UdpSocket;
use weir_quic::{Ecn, PathAddr};

use super::super::watch::Watch;

/// Messages of one receiving call. Each is a datagram, or with receive offload up to 64 of them; all
/// of their buffers together stay in a processor's cache.
pub(super) const MESSAGES: usize = 16;
/// Room of one message: the largest that UDP has.
pub(super) const ROOM: usize = 64 * 1024;

/// What one receiving call brought. One of these serves a socket for as long as it lives.
pub(in crate::quic) struct Batch {
    data: Vec<u8>,
    metas: [RecvMeta; MESSAGES],
    count: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            data: vec![0; MESSAGES * ROOM],
            metas: [RecvMeta::default(); MESSAGES],
            count: 0,
        }
    }
}

impl Batch {
    /// One receiving call.
    pub(super) fn fill(&mut self, io: &UdpSocket, state: &UdpSocketState) -> io::Result<()> {
        self.count = 0;
        let mut rooms = self.data.chunks_exact_mut(ROOM);
        let mut slices: [IoSliceMut<'_>; MESSAGES] =
            std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
        self.count = state.recv(io.into(), &mut slices, &mut self.metas)?;
        Ok(())
    }

    /// Whether the call brought as many messages as there is room for: there may be more.
    pub(super) fn is_full(&self) -> bool {
        self.count >= MESSAGES
    }

    /// Forgets what an earlier call brought.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds a datagram: behind those before it in one room where it is of their kind and size, as
    /// receive offload has it. False when there is no room.
    pub(super) fn add(
        &mut self,
        data: &[u8],
        from: SocketAddr,
        to: IpAddr,
        ecn: Option<EcnCodepoint>,
    ) -> bool {
        let last = self.count.checked_sub(1).and_then(|at| self.metas.get(at));
        let joins = last.is_some_and(|last| {
            last.addr == from
                && last.dst_ip == Some(to)
                && last.ecn == ecn
                && last.len % last.stride.max(1) == 0
                && data.len() <= last.stride
                && !data.is_empty()
                && last.len.saturating_add(data.len()) <= ROOM
        });
        if !joins {
            if self.is_full() || data.len() > ROOM {
                return false;
            }
            if let Some(meta) = self.metas.get_mut(self.count) {
                *meta = RecvMeta::default();
                meta.addr = from;
                meta.dst_ip = Some(to);
                meta.ecn = ecn;
                meta.stride = data.len();
            }
            self.count += 1;
        }
        let Some(at) = self.count.checked_sub(1) else {
            return false;
        };
        let (Some(meta), Some(room)) = (
            self.metas.get_mut(at),
            self.data.chunks_exact_mut(ROOM).nth(at),
        ) else {
            return false;
        };
        let end = meta.len.saturating_add(data.len());
        if let Some(place) = room.get_mut(meta.len..end) {
            place.copy_from_slice(data);
            meta.len = end;
        }
        true
    }

    /// Shows what came as it came: before it is decrypted in place.
    pub(super) fn show(&self, watch: &mut Watch) {
        let rooms = self.data.chunks_exact(ROOM);
        for (room, meta) in rooms.zip(&self.metas).take(self.count) {
            let local = meta.dst_ip.map(unmapped);
            let remote = SocketAddr::new(unmapped(meta.addr.ip()), meta.addr.port());
            let ecn = meta.ecn.map_or(0, |mark| mark as u8);
            let data = room.get(..meta.len).unwrap_or(room);
            watch.received(local, remote, ecn, meta.stride, data);
        }
    }

    /// Every datagram, in the order in which they came.
    pub(in crate::quic) fn datagrams(
        &mut self,
    ) -> impl Iterator<Item = (PathAddr, Option<Ecn>, &mut [u8])> + '_ {
        let rooms = self.data.chunks_exact_mut(ROOM);
        rooms
            .zip(&self.metas)
            .take(self.count)
            .flat_map(|(room, meta)| {
                let path = PathAddr {
                    local: meta.dst_ip.map(unmapped),
                    remote: SocketAddr::new(unmapped(meta.addr.ip()), meta.addr.port()),
                };
                let ecn = meta.ecn.and_then(|mark| Ecn::from_bits(mark as u8));
                let len = meta.len.min(ROOM);
                let (filled, _) = room.split_at_mut(len);
                let stride = meta.stride.max(1);
                filled
                    .chunks_mut(stride)
                    .map(move |datagram| (path, ecn, datagram))
            })
    }
}

pub(super) fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_canonical(),
        v4 => v4,
    }
}
