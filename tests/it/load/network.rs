//! The relay: faults that really happen.

use crate::running::{Running, loaded};

/// `loss` on QUIC is repaired, so nothing is lost, but it takes longer and the relay counted.
#[test]
fn over_a_bad_network_everything_comes_later_but_comes() {
    let server = Running::start(&[]);
    let args = ["--ws", "4", "--wt", "4", "--rate", "50", "--duration", "1.5"];
    let faults = ["--loss", "5%", "--delay", "20ms", "--jitter", "5ms", "--reorder", "5%", "--bandwidth", "2mbit"];
    let report = loaded(&server, &[&args[..], &faults].concat(), 0);
    let network = report.network.unwrap();
    assert!(network.lost > 0 && network.passed > 0 && network.reordered > 0, "{network:?}");
    // Nothing can be faster than the way is long.
    assert!(report.latency_us.p50 >= 20_000, "{report:?}");
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_cut_is_survived_and_seen() {
    let server = Running::start(&[]);
    let report = loaded(&server, &["--ws", "3", "--wt", "3", "--rate", "50", "--duration", "3", "--cut", "1@2"], 0);
    assert!(report.latency_us.max >= 500_000, "{report:?}");
    assert!(report.network.unwrap().lost > 0);
}

#[test]
fn where_udp_is_blocked_only_tcp_gets_through() {
    let server = Running::start(&[]);
    let report = loaded(&server, &["--ws", "3", "--wt", "1", "--rate", "50", "--duration", "0.5", "--udp-blocked"], 1);
    assert_eq!((report.connections.connected, report.connections.failed), (3, 1), "{report:?}");
}
