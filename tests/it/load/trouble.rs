//! What goes wrong, and what is said then.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    process::{Child, ChildStderr, Command, Output},
    time::Duration,
};

use crate::running::{Running, fanfare};

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn signal(child: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &child.to_string()]).status().unwrap().success());
}

/// Answers every connection with `greeting` and ends it when the client does.
fn another_protocol(greeting: &'static [u8]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A client may have gone already.
            let _ = stream.write_all(greeting).and_then(|()| stream.read(&mut [0; 1024]));
        }
    });
    format!("http://{addr}")
}

#[test]
fn another_protocol_and_nobody_at_all_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    for (url, say) in [
        (another_protocol(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "no HTTP"),
        (another_protocol(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "the server answered 404"),
        (another_protocol(b""), "did not answer the upgrade"),
        ("http://127.0.0.1:1".to_owned(), "refused"),
    ] {
        let args = ["load", "--profile", "nats", "--ws", "2", "--duration", "0.2", "--url", &url];
        let output = fanfare(home.path()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", words(&output));
        assert!(words(&output).contains(say), "{say}: {}", words(&output));
    }
}

#[test]
fn limits_that_are_too_low_are_raised_or_named() {
    let server = Running::start(&[]);
    let limited = |limits: &str, connections: &str| {
        let binary = env!("CARGO_BIN_EXE_fanfare");
        let script =
            format!("ulimit -Sn 32 && ulimit -Hn {limits} && exec {binary} load --idle {connections} --duration 0.2 --url {}", server.http);
        Command::new("sh").args(["-c", &script]).env("HOME", server.home.path()).output().unwrap()
    };
    let raised = limited("400", "100");
    assert_eq!(raised.status.code(), Some(0), "{}", words(&raised));
    let named = limited("64", "100");
    assert_eq!(named.status.code(), Some(2), "{}", words(&named));
    assert!(words(&named).contains("64 are allowed at most") && words(&named).contains("LimitNOFILE="), "{}", words(&named));
    // A relay needs two more for each.
    let relayed = limited("400", "200 --delay 1ms");
    assert!(relayed.status.code() == Some(2) && words(&relayed).contains("needs 66"), "{}", words(&relayed));
}

/// A run that has delivered something, and what it says from then on.
fn running(server: &Running, duration: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = server.command(&["load", "--ws", "3", "--rate", "50", "--duration", duration]).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while line.is_empty() || line.contains("received 0/s") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
    }
    (child, said)
}

/// What it said at the end, if that was with exit code 1.
fn ending((child, mut said): (Child, BufReader<ChildStderr>)) -> String {
    let (mut rest, output) = (String::new(), child.wait_with_output().unwrap());
    said.read_to_string(&mut rest).unwrap();
    let all = format!("{}{rest}", words(&output));
    assert_eq!(output.status.code(), Some(1), "{all}");
    all
}

#[test]
fn a_signal_ends_it_with_what_was_measured() {
    let server = Running::start(&[]);
    for name in ["INT", "TERM"] {
        let run = running(&server, "60");
        signal(run.0.id(), name);
        let all = ending(run);
        assert!(
            all.contains("the run was interrupted") && all.contains("lost               0") && all.contains("latency            p50 "),
            "{all}"
        );
    }
}

#[test]
fn standing_still_is_noticed_and_told() {
    let server = Running::start(&[]);
    let run = running(&server, "6");
    signal(run.0.id(), "STOP");
    // The fault itself: there is nothing to wait for while it stands still.
    std::thread::sleep(Duration::from_secs(4));
    signal(run.0.id(), "CONT");
    let all = ending(run);
    assert!(all.contains("the load generator stood still for "), "{all}");
    // What was due meanwhile counts as late.
    let latency = all.lines().find(|line| line.starts_with("latency ")).unwrap();
    let max: f64 = latency.split("max ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(max > 2000.0 && latency.ends_with(" ms"), "{latency}");
}

/// `docs/load.md` shows what can be set.
#[test]
fn the_document_lists_every_setting() {
    let document = include_str!("../../../docs/load.md");
    let shown = document.split_once("<!-- settings -->\n").unwrap().1.split_once("<!-- end of settings -->").unwrap().0;
    let mut wanted = String::new();
    for kind in fanfare::load::profile::Kind::ALL {
        let name = clap::ValueEnum::to_possible_value(&kind).unwrap().get_name().to_owned();
        wanted += &format!("### {name}\n\n| setting | unless it is set | meaning |\n| --- | --- | --- |\n");
        for setting in kind.settings() {
            let default = if setting.default.is_empty() { String::new() } else { format!("`{}` ", setting.default) };
            wanted += &format!("| `{}` | {default}| {} |\n", setting.name, setting.meaning);
        }
        wanted.push('\n');
    }
    assert_eq!(shown.trim(), wanted.trim());
}
