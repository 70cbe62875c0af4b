//! Several nodes and a real `redis-server`: what makes them one server, and what they do when Redis, a link or a node fails.
//!
//! - `sharing` is the ordinary life, `ways_in` is how a node gets at its server, `doctor` what is found there
//! - `spread` has several servers, in `sentinels` the primary changes
//! - `users` is what the application does with sessions, `leases` is who lives, `view` what is seen of it, `presence` who is where
//! - `load` is the load generator on several nodes
//! - `faults` makes a link fail, `interruptions` is what members are told then, `refusals` is a server that answers and does not do it, `lives` one that begins anew
//! - `model` makes anything fail at any time and compares with a simple model
//! - `redis` starts servers, `relay` stands between a node and its server and does harm, `actor` plays a server

#![allow(unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests")]

mod actor;
#[path = "../it/common.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod common;
mod doctor;
mod faults;
mod interruptions;
mod leases;
mod lives;
mod load;
mod model;
mod nodes;
#[path = "../it/people.rs"]
mod people;
mod presence;
mod redis;
mod refusals;
mod relay;
#[path = "../it/running.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod running;
mod sentinels;
mod sharing;
mod spread;
mod users;
mod view;
mod ways_in;
