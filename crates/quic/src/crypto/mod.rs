//! Packet protection and TLS (RFC 9001), address-validation tokens, stateless reset.
