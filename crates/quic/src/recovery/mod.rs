//! What was sent, what was received, what is lost (RFC 9002).
