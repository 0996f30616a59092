//! The internet layer as a whole, on virtual time.
