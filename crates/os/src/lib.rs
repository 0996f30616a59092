//! What weir asks of the operating system.
