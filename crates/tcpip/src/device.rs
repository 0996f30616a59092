//! What passes between the stack and a device, and what a device can do.

/// An interface of one stack: dense, from 0. The default is the first one.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub(crate) u16);

impl InterfaceId {
    /// Its number, counted from 0 in the order in which interfaces were added.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a device's frames begin with.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Medium {
    /// An IP header: a TUN device, WireGuard.
    Ip,
    /// An Ethernet II header: a TAP device, a virtual machine's network card.
    Ethernet,
}

/// What a device can do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What frames begin with.
    pub medium: Medium,
    /// The largest IP packet in bytes that is one packet on the wire, without the Ethernet header.
    pub mtu: u16,
    /// The device completes TCP and UDP checksums of frames sent ([`Checksum::Partial`]), and frames
    /// received may come with [`Checksum::Verified`] or [`Checksum::Partial`].
    pub checksum_offload: bool,
    /// Which super-segments the device cuts by itself.
    pub segmentation: Segmentation,
}

impl Capabilities {
    /// A device that carries frames and does nothing else.
    #[must_use]
    pub const fn plain(medium: Medium, mtu: u16) -> Capabilities {
        Capabilities {
            medium,
            mtu,
            checksum_offload: false,
            segmentation: Segmentation {
                tcp4: false,
                tcp6: false,
                udp: false,
                max_bytes: 0,
            },
        }
    }
}

/// Which super-segments a device cuts by itself. Needs checksum offload.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Segmentation {
    /// TCP over IPv4 (TSO4).
    pub tcp4: bool,
    /// TCP over IPv6 (TSO6).
    pub tcp6: bool,
    /// UDP datagrams of one size (USO).
    pub udp: bool,
    /// The largest super-segment in bytes with all headers, at most 65,535.
    pub max_bytes: usize,
}

/// What goes along with a frame, both ways: the fields of a `virtio_net_hdr` that mean something.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// What is known of, or still to be done about, the transport checksum.
    pub checksum: Checksum,
    /// Set when the frame stands for several segments.
    pub segments: Option<Segments>,
}

/// The state of a frame's transport checksum.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// In the frame, to be checked by whoever receives it.
    #[default]
    Complete,
    /// The field holds the pseudo-header's sum only. Received from a device this means that the
    /// sender is on the same machine and nothing needs checking.
    Partial {
        /// Where the transport header begins in the frame, in bytes.
        start: u16,
        /// Where the checksum field lies behind `start`, in bytes.
        offset: u16,
    },
    /// Checked by the device and found right.
    Verified,
}

/// How a super-segment is made up.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Of what kind.
    pub kind: SegmentKind,
    /// Payload bytes of each segment but the last.
    pub size: u16,
    /// Bytes of all headers, which every segment begins with.
    pub header_len: u16,
}

/// The protocols of a super-segment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either.
    Udp,
}
