//! fanfare: an edge server that carries events from an application to every browser that follows a group.

pub mod api;
pub mod auth;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod hub;
pub mod metrics;
pub mod policy;
pub mod protocol;
pub mod server;
pub mod session;
pub mod transport;
pub mod worker;
