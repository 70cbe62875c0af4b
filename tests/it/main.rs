//! Integration tests over real sockets: one binary, one file for each behaviour.
//!
//! `binary`: exit codes, signals, commands. `delivery`: order, resuming, both transports, both dialects. `hostile`: what bad input gets.
//! `legacy`: pages of older applications. `load`: the load generator. `presence`: who is there. `noise`: bytes at random. `slow`: readers that do not read. `drain`: leaving.
//! `steering`: changes of address. `quic`: unproved addresses, and restarts. `policies`: the bounds of a group, and whose it is. `reload`: a configuration that changes under a running server.
//! `users`: what the application does with sessions.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod binary;
mod common;
mod delivery;
mod drain;
mod hostile;
mod legacy;
mod load;
mod noise;
mod people;
mod policies;
mod presence;
mod quic;
mod reload;
mod running;
mod slow;
mod steering;
mod users;
