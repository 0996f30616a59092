//! Every bound of what peers' certificates may hold.

/// Bytes of a certificate: one with RSA keys of 8192 bits has under 5 KiB; more is not looked at.
pub(super) const MAX_CERTIFICATE: usize = 16 * 1024;

/// Certificates that are remembered as verified, a hundred bytes each.
pub(super) const MAX_KNOWN: usize = 256;
