//! The binary as operators meet it: exit codes, the line that names key and value, signals, and the commands against a running server.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use crate::running::{PATIENCE, Running, fanfare};

/// Runs a server that must not start; its exit code and its last words.
fn refused(mode: &str, home: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = fanfare(home).arg(mode).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const ANY: [&str; 6] = ["--http", "127.0.0.1:0", "--secure", "127.0.0.1:0", "--quic", "127.0.0.1:0"];

#[test]
fn a_port_in_use_is_named_and_ends_with_3() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, words) = refused("dev", home.path(), &["--http", &addr, "--secure", "127.0.0.1:0", "--quic", "127.0.0.1:0"]);
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("listen.http") && words.contains(&addr), "{words}");
    assert_eq!(words.trim().lines().count(), 1, "{words}");
}

#[test]
fn a_port_in_use_is_named_whichever_listener_wants_it() {
    let home = tempfile::tempdir().unwrap();
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    for (key, addr) in [("secure", tcp.local_addr().unwrap()), ("api", tcp.local_addr().unwrap()), ("quic", udp.local_addr().unwrap())] {
        let others = ["http", "secure", "quic"].into_iter().filter(|other| *other != key);
        let listen: Vec<String> = others.flat_map(|other| [format!("--{other}"), "127.0.0.1:0".into()]).collect();
        let taken = [format!("--{key}"), addr.to_string()];
        let args: Vec<&str> = listen.iter().chain(&taken).map(String::as_str).collect();
        let (code, words) = refused("dev", home.path(), &args);
        assert_eq!(code, Some(3), "{key}: {words}");
        assert!(words.contains(&format!("listen.{key}")) && words.contains(&addr.to_string()), "{words}");
        assert_eq!(words.trim().lines().count(), 1, "{words}");
    }
}

#[test]
fn a_configuration_file_that_is_no_toml_or_not_there_is_named_and_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("broken.toml"), "workers = 1\nnode = = 'x'\n").unwrap();
    for (file, say) in [("broken.toml", "line 2"), ("absent.toml", "absent.toml")] {
        for mode in ["dev", "check-config"] {
            let (code, words) = refused(mode, home.path(), &["--config", file]);
            assert_eq!(code, Some(2), "{mode}: {words}");
            assert!(words.contains(file) && words.contains(say), "{mode}: {words}");
        }
    }
}

#[test]
fn a_key_that_is_not_the_certificate_s_is_named_and_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let (own, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    std::fs::write(home.path().join("cert.pem"), params.self_signed(&own).unwrap().pem()).unwrap();
    std::fs::write(home.path().join("other.pem"), other.serialize_pem()).unwrap();
    std::fs::write(home.path().join("text.pem"), "this is no key\n").unwrap();
    for key in ["other.pem", "text.pem"] {
        let setting = format!("tls.key={key}");
        let args = [&ANY[..], &["--set", "tls.certificate=cert.pem", "--set", &setting]].concat();
        let (code, words) = refused("dev", home.path(), &args);
        assert_eq!(code, Some(2), "{words}");
        assert!(words.contains("tls.") && words.contains(key), "{words}");
    }
}

#[test]
fn a_wrong_configuration_names_key_value_and_rule_and_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    let (code, words) = refused("dev", home.path(), &["--set", "limits.frame=lots", "--set", "limits.frmae=1"]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("limits.frame") && words.contains("lots"), "{words}");
    assert!(words.contains("limits.frmae") && words.contains("did you mean"), "{words}");
}

#[test]
fn check_config_explains_which_policy_a_group_has_and_what_somebody_may_do_there() {
    let home = tempfile::tempdir().unwrap();
    let text = "[[groups]]\nmatch = 'desk.{user}'\nsubscribe = 'owner'\nrate = '5/s'\n[[groups]]\nmatch = '*'\npublish = 'claim'\n[[groups]]\nmatch = 'team_*'\n";
    std::fs::write(home.path().join("fanfare.toml"), text).unwrap();
    let explain = |words: &[&str]| {
        let output = fanfare(home.path()).args(["check-config", "--dev", "--config", "fanfare.toml"]).args(words).output().unwrap();
        let words = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), words)
    };
    let (code, [said, warned]) = explain(&["--explain", "group=desk.ann", "user=ann"]);
    assert_eq!(code, Some(0), "{warned}");
    for line in
        ["policy        \"desk.{user}\" (groups[0])", "captured      {user} = \"ann\"", "rate          5/s from clients, through one node"]
    {
        assert!(said.lines().any(|found| found == line), "{line} is missing in\n{said}");
    }
    assert!(said.contains("subscribe     yes: subscribe = \"owner\", and it is this user's group"), "{said}");
    assert!(warned.contains("warning: groups[2].match = \"team_*\" never decides"), "{warned}");
    let claims = r#"claims={"rights":{"publish":["team_*"]}}"#;
    let (_, [said, _]) = explain(&["--json", "--explain", "group=team_a", claims]);
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((answer["index"].as_u64(), answer["publish"]["verdict"].as_str()), (Some(1), Some("yes")), "{answer}");
    let (code, [_, said]) = explain(&["--explain", "user=ann"]);
    assert!(code == Some(2) && said.contains("needs a group"), "{said}");
}

#[test]
fn an_unreadable_certificate_names_the_file_and_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    let args = [&ANY[..], &["--set", "tls.certificate=absent.pem", "--set", "tls.key=absent-key.pem"]].concat();
    let (code, words) = refused("dev", home.path(), &args);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("tls.certificate") && words.contains("absent.pem"), "{words}");
}

#[test]
fn an_expired_certificate_says_when_it_ended_and_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(home.path().join("old.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(home.path().join("old-key.pem"), key.serialize_pem()).unwrap();
    let args = [&ANY[..], &["--set", "tls.certificate=old.pem", "--set", "tls.key=old-key.pem"]].concat();
    let (code, words) = refused("dev", home.path(), &args);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("old.pem") && words.contains("2020-02-01"), "{words}");
}

#[test]
fn listening_beyond_loopback_without_authentication_is_refused_and_says_what_to_set() {
    let home = tempfile::tempdir().unwrap();
    for (mode, remedy) in [("dev", "use `serve`"), ("serve", "auth.")] {
        let (code, words) = refused(mode, home.path(), &["--http", "0.0.0.0:0"]);
        assert_eq!(code, Some(2), "{words}");
        assert!(words.contains("listen.http = 0.0.0.0:0") && words.contains(remedy), "{words}");
    }
}

#[test]
fn sent_events_are_printed_by_tail_over_both_transports_and_sigterm_ends_with_0() {
    let mut server = Running::start(&[]);
    for transport in ["webtransport", "websocket"] {
        let group = format!("team_{transport}");
        let mut tail = server.command(&["tail", &group, "--transport", transport, "--json", "--count", "1"]).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        // Sent again until it is heard: tail says nothing to us about when it follows.
        while tail.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "tail over {transport} prints nothing");
            let sent = server.run(&["send", "notification", &group, "Reached", "--type", "success", "--title", "Great"]);
            assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut printed = String::new();
        tail.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let event: serde_json::Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
        assert!(printed.contains("Reached") && printed.contains("success"), "{event}");
    }
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_wrong_api_key_is_refused_and_send_says_so() {
    let server = Running::start(&[]);
    let output = server.command(&["send", "message", "sales_team", "hello"]).env("FANFARE_API_KEY", "wrong").output().unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("the key is not one of this server's"), "{words}");
}

#[test]
fn an_interrupt_ends_with_0_and_frees_the_port() {
    let mut server = Running::start(&[]);
    let addr: SocketAddr = server.http.trim_start_matches("http://").replace("localhost", "127.0.0.1").parse().unwrap();
    assert!(TcpStream::connect(addr).is_ok());
    server.signal("INT");
    assert_eq!(server.exit_code(), Some(0));
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn load_accounts_for_every_delivery_over_every_transport() {
    let server = Running::start(&["--workers", "2"]);
    let pid = server.child.id().to_string();
    let mix = ["load", "--ws", "8", "--wss", "7", "--wt", "6", "--groups", "3", "--duration", "0.5", "--json", "--pid", &pid];
    for pace in [["--rate", "200"], ["--window", "4"]] {
        let output = server.run(&[&mix[..], &pace].concat());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words}");
        let report: fanfare::load::Report = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.connections.connected, report.published.accepted), (21, report.published.sent));
        // Seven of the 21 follow each of the three groups.
        assert_eq!((report.deliveries.due, report.deliveries.received), (report.published.sent * 7, report.published.sent * 7));
        assert!(report.published.sent >= 4 && report.latency_us.p50 > 0, "{report:?}");
        assert!(report.server.unwrap().cpu_us_a_delivery > 0.0);
    }
}

#[test]
fn load_says_what_is_wrong_with_its_orders() {
    let server = Running::start(&[]);
    for (args, code, say) in [
        (&["--url", "http://192.0.2.1"][..], 2, "192.0.2.1:80 is not on this machine"),
        (&["--wss", "1", "--wss-url", "wss://192.0.2.1/x"], 2, "192.0.2.1:443 is not on this machine"),
        (&["--ws", "1", "--size", "10"], 2, "size = 10: a message carries a mark of 35 bytes"),
        (&["--ws", "1", "--rate", "0"], 2, "rate = 0: has to be above 0"),
        (&[], 2, "at least one connection"),
        (&["--idle", "1", "--publish-by", "http"], 2, "--publish-by: nobody follows anything"),
        (&["--ws", "1", "--resume"], 2, "--resume: nobody comes back"),
        (&["--ws", "1", "--groups", "3", "--groups-each", "2"], 2, "groups-each = 2: has to divide the 3 groups"),
        (&["--ws", "1", "--assert", "lost=0,,p99<1ms"], 2, "has to be FIGURE"),
        (&["--ws", "1", "--pid", "0"], 2, "process 0 can't be measured"),
        (&["--ws", "1", "--api-key", "wrong"], 1, "HTTP 401"),
        (&["--ws", "1", "--url", "http://127.0.0.1:1"], 3, "connecting to http://127.0.0.1:1/"),
    ] {
        let url = if args.contains(&"--url") { vec![] } else { vec!["--url", &server.http] };
        let output = fanfare(server.home.path()).args(["load", "--duration", "0.2"]).args(args).args(url).output().unwrap();
        let words = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {words}");
        assert!(words.contains(say), "{args:?}: {words}");
    }
}

#[test]
fn load_reports_what_it_measured_when_the_server_dies() {
    let mut server = Running::start(&[]);
    let load = server.command(&["load", "--ws", "5", "--wt", "5", "--rate", "50", "--duration", "10", "--json"]).spawn().unwrap();
    server.until_it_has_delivered();
    server.child.kill().unwrap();
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: fanfare::load::Report = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report.deliveries.received > 0 && report.published.trouble.is_some(), "{report:?}");
    assert!(report.connections.ended >= 5, "{report:?}");
}
