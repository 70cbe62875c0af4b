//! What `fanfare doctor` finds at real servers, and that it leaves no trace there.

use std::process::{Command, Output};

use crate::{
    common::until,
    redis::{PROGRAM, RedisServer, free_port},
    ways_in::RULES,
};

/// The command, for a node that listens nowhere that could be taken.
fn doctor(args: &[&str]) -> Output {
    let anywhere = ["doctor", "--dev", "--http", "127.0.0.1:0", "--secure", "off", "--quic", "off"];
    Command::new(env!("CARGO_BIN_EXE_fanfare")).args(anywhere).args(args).env_remove(PROGRAM).output().unwrap()
}

/// Verdict and words of a check that ends like this.
fn of(output: &Output, check: &str) -> (String, String) {
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = findings.as_array().unwrap().iter().find(|finding| finding["check"].as_str().unwrap().ends_with(check));
    let found = found.unwrap_or_else(|| panic!("{check} is not in {findings}"));
    (found["verdict"].as_str().unwrap().to_owned(), found["found"].as_str().unwrap().to_owned())
}

fn verdict(output: &Output, check: &str) -> String {
    of(output, check).0
}

#[test]
fn a_healthy_server_passes_and_is_left_as_it_was() {
    let redis = RedisServer::start();
    redis.ask("SET other x");
    let before = redis.ask("DBSIZE");
    let output = doctor(&["--json", "--redis", &redis.url()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for check in ["version", "mode", "rights", "maxmemory-policy", "client-output-buffer-limit", "persistence"] {
        assert_eq!(verdict(&output, check), "ok", "{check}");
    }
    assert_eq!((redis.ask("DBSIZE"), redis.ask("PUBSUB CHANNELS")), (before, "*0\r\n".to_owned()));
    let text = String::from_utf8(doctor(&["--redis", &redis.url()]).stdout).unwrap();
    assert!(text.contains("ok      Redis 127.0.0.1:") && text.lines().all(|line| !line.contains("cure")), "{text}");
}

#[test]
fn a_user_with_just_the_rights_of_the_manual_passes_and_what_it_may_not_see_is_unknown() {
    let redis = RedisServer::start();
    let rules: Vec<&str> = ["ACL", "SETUSER", "fan", "on", ">p"].into_iter().chain(RULES.split(' ')).collect();
    redis.command(&rules);
    let url = format!("redis://fan:p@127.0.0.1:{}", redis.port);
    let output = doctor(&["--json", "--redis", &url]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((verdict(&output, "rights").as_str(), verdict(&output, "client-output-buffer-limit").as_str()), ("ok", "unknown"));
    redis.ask("ACL SETUSER fan -xadd -publish");
    let output = doctor(&["--json", "--redis", &url]);
    assert_eq!((output.status.code(), verdict(&output, "rights").as_str()), (Some(1), "fail"));
    assert!(of(&output, "rights").1.starts_with("XADD, PUBLISH may not"), "{output:?}");
    redis.ask("ACL SETUSER fan +xadd +publish resetchannels");
    assert_eq!(of(&doctor(&["--json", "--redis", &url]), "rights").1, "PUBLISH, SUBSCRIBE may not be given");
}

#[test]
fn each_server_is_looked_at_and_each_fault_has_its_cure() {
    let (primary, replica) = (RedisServer::start(), RedisServer::start());
    replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    let cluster = RedisServer::with(&["--cluster-enabled", "yes"]);
    let evicting = RedisServer::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let nobody = free_port();
    let urls = [replica.url(), cluster.url(), evicting.url(), format!("redis://ann:secret@127.0.0.1:{nobody}")];
    let args: Vec<&str> = urls.iter().flat_map(|url| ["--redis", url]).chain(["--json"]).collect();
    let output = doctor(&args);
    assert_eq!(output.status.code(), Some(1));
    let of = |port: u16, check: &str| verdict(&output, &format!(":{port}/0: {check}"));
    assert_eq!((of(replica.port, "mode").as_str(), of(cluster.port, "mode").as_str()), ("fail", "fail"));
    assert_eq!((of(evicting.port, "maxmemory-policy").as_str(), of(nobody, "reachable").as_str()), ("warn", "fail"));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret"));
}

#[tokio::test]
async fn sentinels_are_looked_at_too() {
    let primary = RedisServer::start();
    let sentinel = RedisServer::sentinel(&format!("sentinel monitor mymaster 127.0.0.1 {} 1", primary.port));
    until("the sentinel answers", || sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster").contains("127.0.0.1")).await;
    let at = format!("redis.sentinels=127.0.0.1:{}", sentinel.port);
    let output = doctor(&["--json", "--set", &at, "--set", "redis.master=mymaster"]);
    assert_eq!((output.status.code(), verdict(&output, "sentinels").as_str()), (Some(0), "ok"), "{output:?}");
    let half = format!("{at},127.0.0.1:{}", free_port());
    let output = doctor(&["--json", "--set", &half, "--set", "redis.master=mymaster"]);
    assert_eq!((output.status.code(), verdict(&output, "sentinels").as_str()), (Some(0), "warn"), "{output:?}");
    let output = doctor(&["--json", "--set", &at, "--set", "redis.master=other"]);
    assert_eq!((output.status.code(), verdict(&output, "sentinels").as_str()), (Some(1), "fail"), "{output:?}");
}
