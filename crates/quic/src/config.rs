//! Settings of an endpoint and of its connections.
