//! fanfare: an edge server that carries events from an application to every browser that follows a group.
//!
//! The map of the house; `ARCHITECTURE.md` has the drawing and the reasons.
//!
//! - [`protocol`]: names, ids, events, frames, codes, dialects; pure
//! - [`policy`]: what is allowed and kept in a group; pure
//! - [`limit`]: rates, and how many at once; pure
//! - [`auth`]: who may connect, and who may manage
//! - [`session`]: one connection's protocol as a state machine without I/O
//! - [`broker`]: gives events their place and keeps the past
//! - [`hub`]: groups, members, outboxes, delivery; one a worker
//! - [`presence`]: who is in which group on this node
//! - [`transport`]: WebSocket, WebTransport, TLS, QUIC, and the connection that ties a wire to a session and the hub
//! - [`worker`]: one thread with its listeners and its shard of the hub
//! - [`server`]: builds everything, drains and stops
//! - [`api`]: HTTP: publish, groups, operations, discovery, pages
//! - [`metrics`]: every name in one place
//! - [`config`]: what was typed, made into valid values
//! - [`client`]: a client of the protocol for the command line, tests and load
//! - [`load`]: the load generator
//! - [`cli`]: the command line

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read the clock"))]

pub mod api;
pub mod auth;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod hub;
pub mod limit;
pub mod load;
pub mod metrics;
pub mod policy;
pub mod presence;
pub mod protocol;
pub mod server;
pub mod session;
pub mod transport;
pub mod worker;
