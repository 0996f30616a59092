//! The engine: interfaces below, sockets above.
