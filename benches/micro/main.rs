//! The pieces of a delivery, each for itself: `cargo bench --bench micro`.
//!
//! What they cost together, system calls included, is what `fanout` measures. These are for finding out which piece has become dearer.

mod frames;
mod groups;

fn main() {
    divan::main();
}
