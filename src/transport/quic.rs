//! The QUIC endpoint of a worker.
