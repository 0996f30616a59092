//! Streams and their flow control (RFC 9000 sections 2 to 4). Nothing here knows of packets.
