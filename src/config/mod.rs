//! The configuration of a server.
