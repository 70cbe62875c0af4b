//! A Redis alone, and two nodes on one.

use crate::rig::{FANFARE, Server};

/// Subscribers and publishers of Redis itself, with nothing of ours between.
pub(crate) const BARE: Server = Server {
    name: "bare Redis",
    needs: "/",
    #[rustfmt::skip]
    command: &[
        "redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "{home}", "--loglevel", "warning",
    ],
    environment: &[],
    load: &["--profile", "redis", "--tcp-url", "redis://127.0.0.1:{port}", "--publish-url", "redis://127.0.0.1:{port}"],
    ..FANFARE
};

/// Subscribers at the first node; what they get is published at the second one.
pub(crate) const KEEPING: Server = Server {
    name: "two nodes, history of 100",
    #[rustfmt::skip]
    command: &[
        env!("CARGO_BIN_EXE_fanfare"), "dev", "--workers", "1", "--redis", "redis://127.0.0.1:{redis}",
        "--http", "127.0.0.1:{port}", "--secure", "off", "--quic", "off",
    ],
    #[rustfmt::skip]
    beside: &[
        env!("CARGO_BIN_EXE_fanfare"), "dev", "--workers", "1", "--redis", "redis://127.0.0.1:{redis}",
        "--http", "127.0.0.1:{port3}", "--secure", "off", "--quic", "off",
    ],
    redis: true,
    load: &["--url", "http://127.0.0.1:{port}", "--publish-url", "http://127.0.0.1:{port3}"],
    ..FANFARE
};

/// The same with nothing kept.
pub(crate) const FORGETTING: Server =
    Server { name: "two nodes, no history", environment: &[("FANFARE_HISTORY__SIZE", "0"), FANFARE.environment[0]], ..KEEPING };
