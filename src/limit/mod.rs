//! How much is too much: rates, and how many there may be at once.
//!
//! Pure: time is given, and nothing here knows what is counted or what happens to whoever has had enough. A [`Rate`] is what may be done; a [`TokenBucket`] is what one has
//! done lately; [`Buckets`] has one for each of many keys, and [`SharedBucket`] is one that several threads draw from.

mod bucket;
mod rate;
mod recent;

pub use bucket::{SharedBucket, TokenBucket};
pub use rate::{BadRate, Rate};
pub use recent::{Buckets, Recent};
