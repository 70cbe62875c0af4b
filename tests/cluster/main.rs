//! Several nodes and a real `redis-server`: what makes them one server, and what they do when Redis, a link or a node fails.
//!
//! `sharing` is the ordinary life, `faults` makes one thing fail at a time, `model` makes anything fail at any time and compares with a simple model. `redis` starts
//! servers, `relay` stands between a node and its server and does harm.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[path = "../it/common.rs"]
#[allow(dead_code, reason = "shared with another test")]
mod common;
mod faults;
mod model;
mod nodes;
mod redis;
mod relay;
mod sharing;
