//! The yamux stream multiplexer as a sans-IO engine.
