//! Several nodes and a real `redis-server`: what makes them one server, and what they do when Redis, a link or a node fails.
//!
//! `sharing` is the ordinary life, `ways_in` is how a node gets at its server,
//! `leases` is who knows that it lives, `faults` makes a link fail, `lives` the server and what it knows, `model` makes anything fail at any time and compares with a simple
//! model. `redis` starts servers, `relay` stands between a node and its server and does harm.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests")]

#[path = "../it/common.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod common;
mod faults;
mod leases;
mod lives;
mod model;
mod nodes;
#[path = "../it/people.rs"]
mod people;
mod presence;
mod redis;
mod relay;
mod sharing;
mod ways_in;
