//! From frames to neighbours: Ethernet, ARP, NDP, address configuration.
