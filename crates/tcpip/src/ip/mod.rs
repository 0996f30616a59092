//! IPv4, IPv6 and ICMP: what is for us, which way it goes, how large it may be.
