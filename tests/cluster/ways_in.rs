//! How a node gets at its server: users, passwords, prefixes, databases, TLS; and what the binary says if it can't.

use std::process::Command;

use fanfare::{broker::redis::Config, client::Transport, protocol::Dialect};

use crate::{
    common::until,
    nodes::{light_node, node, node_with, redis_config},
    redis::{PROGRAM, RedisServer, free_port},
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

/// What `docs/operations.md` says that a user needs.
pub const RULES: &str =
    "~fanfare:* resetchannels &fanfare:* -@all +@read +@write +@connection +@scripting +info +time +publish +subscribe +unsubscribe";

#[tokio::test]
async fn a_user_with_the_rights_that_the_manual_names_is_enough() {
    let redis = RedisServer::start();
    let rules: Vec<&str> = ["ACL", "SETUSER", "fan", "on", ">p@ss"].into_iter().chain(RULES.split(' ')).collect();
    assert_eq!(redis.command(&rules).trim(), "+OK");
    redis.ask("ACL SETUSER default off");
    let a = node(&format!("redis://fan:p%40ss@127.0.0.1:{}", redis.port)).await;
    let mut client = a.client(WEBSOCKET).await;
    let position = client.subscribe("team", None).await.position;
    for key in ["1", "2"] {
        a.try_publish("team", "x", Some(key)).await.unwrap();
    }
    a.publish("live_x", "x").await;
    assert_eq!(client.offsets(2).await, [1, 2]);
    let mut back = a.client(WEBSOCKET).await;
    back.subscribe("team", Some(position)).await;
    assert_eq!(back.offsets(2).await, [1, 2]);
    assert!(a.metric("fanfare_redis_refusals_total").abs() < 0.5);
}

#[tokio::test]
async fn a_wrong_password_is_told() {
    let redis = RedisServer::with(&["--requirepass", "right"]);
    for (login, words) in [(":wrong@", "WRONGPASS"), ("", "NOAUTH")] {
        let a = light_node(redis_config(&format!("redis://{login}127.0.0.1:{}", redis.port)));
        until("the reason is known", || a.parts.broker.ready().is_err_and(|why| why.contains(words))).await;
        assert!(!a.parts.broker.ready().unwrap_err().contains("wrong@"));
    }
    node(&format!("redis://:right@127.0.0.1:{}", redis.port)).await;
}

#[tokio::test]
async fn installations_with_other_prefixes_or_databases_do_not_meet() {
    let redis = RedisServer::start();
    let other_prefix = Config { prefix: "other".into(), ..redis_config(&redis.url()) };
    let (a, b, c) = (node(&redis.url()).await, node_with(other_prefix, 1).await, node(&format!("{}/3", redis.url())).await);
    for node in [&a, &b, &c] {
        assert_eq!(node.publish("team", "x").await.position.offset, 1);
    }
    let keys = |pattern: &str| redis.ask(&format!("KEYS {pattern}")).matches(":team").count();
    assert_eq!((keys("fanfare:*"), keys("other:*")), (2, 2));
    assert!(redis.ask("INFO keyspace").contains("db3:"));
}

#[tokio::test]
async fn tls_is_spoken_to_a_server_whose_authority_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let port = free_port().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let redis = RedisServer::with(&["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"]);
    let url = format!("rediss://127.0.0.1:{port}");
    let trusting = Config { ca: Some(cert.into()), ..redis_config(&url) };
    let a = node_with(trusting, 1).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    a.publish("team", &"x".repeat(50_000)).await;
    assert_eq!(client.offsets(1).await, [1]);
    let b = light_node(redis_config(&url));
    until("a stranger is not trusted", || b.parts.broker.ready().is_err_and(|why| why.contains("certificate"))).await;
    drop(redis);
}

#[test]
fn the_binary_does_not_start_without_redis_if_it_is_required() {
    let port = free_port();
    let url = format!("redis://user:secret@127.0.0.1:{port}");
    let args = ["serve", "--http", "127.0.0.1:0", "--secure", "off", "--quic", "off", "--redis", &url, "--redis-required", "fail"];
    let output =
        Command::new(env!("CARGO_BIN_EXE_fanfare")).args(args).env("FANFARE_API__KEYS", "key").env_remove(PROGRAM).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("Connection refused") && said.contains("redis.required") && !said.contains("secret"), "{said}");
}
