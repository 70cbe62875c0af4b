//! Integration tests over real sockets: one binary, one file for each behaviour.

mod common;
mod smoke;
