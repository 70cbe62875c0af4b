//! The load generator's own counts, against a server that lies; and its behaviour in churn, with slow readers, and on a bad network.

mod liar;
mod network;
mod people;
mod trouble;

use std::time::Duration;

use fanfare::{
    client::Trust,
    load::{By, Claim, Pace, Plan, Publish, Report, Sizes, Spread, Transport, Way, profile::Kind, run},
};
use liar::{Liar, Lies, Speech};

const FOLLOWERS: usize = 5;

fn plan(liar: &Liar, speech: Speech) -> Plan {
    let text = [("open", "follow"), ("ready", "followed"), ("publish", "publish {payload}")];
    let (kind, settings) = if speech == Speech::Fanfare { (Kind::Fanfare, &[][..]) } else { (Kind::Plain, &text[..]) };
    let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let profile = kind.profile(&settings, "").unwrap();
    let (transport, host, trust) = (Transport::Ws, liar.addr.to_string(), Trust::Roots);
    let way = Way { transport, host, addr: liar.addr, path: None, trust, origin: None };
    Plan {
        profile: profile.clone(),
        subscribers: vec![(way.clone(), FOLLOWERS)],
        idle: Vec::new(),
        failover: Vec::new(),
        relayed: false,
        resumes: false,
        slow: 0.0,
        slow_rate: 1000,
        stopped: 0.0,
        ramp: 1000.0,
        handshakes: 64,
        sources: None,
        groups: vec!["g".into()],
        groups_each: 1,
        spread: Spread::Even,
        churn: None,
        publish: Some(Publish { by: By::Client, profile, way, connections: 1 }),
        pace: Pace::Rate(400.0),
        sizes: Sizes::Between(40, 200),
        duration: Duration::from_secs(1),
        server: None,
        seed: 1,
        command: String::new(),
    }
}

/// Runs against a liar, and gives what was found and what was done.
fn found_and_done(speech: Speech) -> (Report, Lies) {
    let liar = Liar::start(speech);
    let plan = plan(&liar, speech);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let running = run(&plan, |_| {}, std::future::pending());
    let report = tokio::task::LocalSet::new().block_on(&runtime, running).unwrap();
    (report, liar.confess())
}

fn compare(report: &Report, lies: Lies) {
    let each = |count: u64| count * FOLLOWERS as u64;
    let found = &report.deliveries;
    assert_eq!(report.published.sent, lies.published);
    assert!(lies.published >= 400 && lies.dropped >= 40 && lies.duplicated >= 40 && lies.reordered >= 40, "{lies:?}");
    assert_eq!((found.lost, found.told), (each(lies.dropped - lies.told), each(lies.told)), "{report:?}");
    assert_eq!((found.duplicated, found.reordered, found.strayed), (each(lies.duplicated), each(lies.reordered), 0), "{report:?}");
    assert_eq!((found.due, found.received), (each(lies.published), each(lies.published - lies.dropped)), "{report:?}");
    assert!(!report.is_clean());
}

#[test]
fn every_lie_is_found_one_delivery_a_message() {
    let (report, lies) = found_and_done(Speech::Single);
    compare(&report, lies);
}

#[test]
fn what_belongs_elsewhere_or_was_never_published_has_strayed() {
    let (report, lies) = found_and_done(Speech::Forged);
    let each = FOLLOWERS as u64;
    let arrivals = lies.published - lies.dropped + lies.duplicated;
    assert_eq!(report.deliveries.strayed, arrivals * 2 * each, "{report:?}");
    assert_eq!((report.deliveries.received, report.deliveries.lost), ((lies.published - lies.dropped) * each, lies.dropped * each));
}

#[test]
fn who_is_sent_away_at_once_is_due_everything_and_gets_nothing() {
    let (report, lies) = found_and_done(Speech::Gone);
    assert_eq!((report.connections.connected, report.connections.ended), (FOLLOWERS, FOLLOWERS), "{report:?}");
    assert_eq!((report.deliveries.received, report.deliveries.lost), (0, report.published.sent * FOLLOWERS as u64), "{report:?}");
    assert!(!report.is_clean() && report.published.sent >= lies.published);
    assert!("p99<1s".parse::<Claim>().unwrap().check(&report).is_err());
}

#[test]
fn every_lie_is_found_in_batches() {
    let (report, lies) = found_and_done(Speech::Batched);
    compare(&report, lies);
}

#[test]
fn every_lie_is_found_when_marks_are_cut() {
    let (report, lies) = found_and_done(Speech::Cut);
    compare(&report, lies);
}

#[test]
fn what_a_gap_tells_is_told_apart_from_what_is_lost() {
    let (report, lies) = found_and_done(Speech::Fanfare);
    assert!(lies.told >= 20);
    assert_eq!(report.deliveries.gaps, lies.told * FOLLOWERS as u64);
    assert_eq!(report.published.accepted, lies.published);
    compare(&report, lies);
}
