//! Connection IDs: how they are made, issued and retired (RFC 9000 section 5.1).
