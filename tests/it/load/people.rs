//! Connections that do not sit still.

use crate::running::{Running, loaded};

#[test]
fn those_who_come_back_and_ask_get_everything() {
    let server = Running::start(&["--workers", "2"]);
    let args = ["--ws", "15", "--wt", "5", "--rate", "60", "--duration", "2", "--churn", "40", "--resume"];
    let report = loaded(&server, &[&args[..], &["--assert", "lost=0,told=0,duplicated=0,reordered=0,ended=0,reconnected>5"]].concat(), 0);
    assert_eq!(report.deliveries.due, report.published.sent * 20, "{report:?}");
    assert!(report.deliveries.recovered > 0, "{report:?}");
}

#[test]
fn to_those_who_come_back_and_do_not_ask_nothing_was_due() {
    let server = Running::start(&[]);
    let args = ["--ws", "10", "--rate", "200", "--duration", "2", "--churn", "100", "--assert", "lost=0,duplicated=0,reconnected>5"];
    let report = loaded(&server, &args, 0);
    assert!(report.deliveries.due < report.published.sent * 10 && report.deliveries.recovered == 0, "{report:?}");
}

#[test]
fn who_reads_slowly_or_not_at_all_is_counted_apart() {
    let server = Running::start(&[]);
    let args = ["--ws", "10", "--slow", "20%", "--stopped", "0.1", "--idle", "3", "--rate", "100", "--duration", "1"];
    let report = loaded(&server, &args, 0);
    assert_eq!((report.connections.connected, report.connections.slow, report.connections.idle), (13, 3, 3));
    assert_eq!(report.deliveries.received, report.published.sent * 7, "{report:?}");
}

#[test]
fn publishing_by_clients_over_several_connections_keeps_each_publishers_order() {
    let server = Running::start(&[]);
    let args = ["--ws", "6", "--groups", "3", "--spread", "zipf:1.5", "--publish-by", "client", "--publishers", "4", "--window", "8"];
    let report = loaded(&server, &[&args[..], &["--duration", "0.5", "--size", "40:3,2000:1", "--sources", "3"]].concat(), 0);
    assert_eq!(report.published.accepted, report.published.sent);
    assert!(report.deliveries.received > 100, "{report:?}");
}

#[test]
fn what_the_server_refuses_is_not_lost_and_holds_nothing_up() {
    let server = Running::start(&[]);
    for pace in [["--rate", "100"], ["--window", "1"]] {
        let args = ["--ws", "3", "--api-key", "wrong", "--duration", "1", "--assert", "lost=0,received=0,refused>20"];
        let report = loaded(&server, &[&args[..], &pace].concat(), 0);
        assert_eq!((report.published.refused, report.deliveries.due), (report.published.sent, 0), "{report:?}");
    }
}

#[test]
fn a_rate_that_can_not_be_reached_is_said_and_ends() {
    let server = Running::start(&[]);
    let report = loaded(&server, &["--ws", "1", "--rate", "1e9", "--duration", "0.1", "--assert", "published>100"], 0);
    let said = report
        .troubles
        .iter()
        .any(|trouble| trouble.starts_with("the rate was not reached: ") && trouble.contains(" of 100000000 messages"));
    assert!(said && !report.is_clean(), "{report:?}");
}

#[test]
fn a_page_that_can_not_be_written_costs_no_result() {
    let server = Running::start(&[]);
    let args = ["--ws", "1", "--duration", "0.2", "--report", "/nowhere/report.html"];
    assert!(loaded(&server, &args, 1).deliveries.received > 0);
}

#[test]
fn a_connection_can_follow_several_groups() {
    let server = Running::start(&["--workers", "2"]);
    let args = ["--ws", "3", "--wt", "3", "--groups", "40", "--groups-each", "20", "--rate", "400", "--duration", "1"];
    let report = loaded(&server, &args, 0);
    assert_eq!(report.deliveries.due, report.published.sent * 3, "{report:?}");
}

#[test]
fn connections_that_only_stay_need_no_publisher() {
    let server = Running::start(&[]);
    let report = loaded(&server, &["--idle", "20", "--duration", "0.5"], 0);
    assert_eq!((report.connections.connected, report.connections.idle, report.published.sent), (20, 20, 0));
}

#[test]
fn what_does_not_hold_makes_the_exit_code_and_the_page_is_written() {
    let server = Running::start(&[]);
    let page = server.home.path().join("report.html");
    let args =
        ["--ws", "2", "--duration", "0.3", "--assert", "lost=0,p50<1us", "--api-key", &server.key(), "--report", page.to_str().unwrap()];
    let report = loaded(&server, &args, 1);
    assert!(report.is_clean(), "{report:?}");
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("--api-key ***") && !html.contains(&server.key()), "{html}");
}
