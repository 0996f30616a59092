//! One socket's datagrams to their connections, and the answers that need no connection.
