//! A network in memory on a clock of its own.
