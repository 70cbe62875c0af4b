//! The servers, ours among them, in the order in which they are measured. `install` says where they come from.

use crate::rig::{FANFARE, Server};

/// Ours with the history that is kept unless somebody says otherwise.
const KEEPING: Server = Server { name: "fanfare, history of 100", ..FANFARE };

/// Ours as most others are here: nothing is kept.
const FORGETTING: Server =
    Server { name: "fanfare, no history", environment: &[("FANFARE_HISTORY__SIZE", "0"), FANFARE.environment[0]], ..FANFARE };

const NATS: Server = Server {
    name: "NATS",
    needs: "{peers}/bin/nats-server",
    command: &["{peers}/bin/nats-server", "-c", "{home}/nats.conf"],
    config: Some("nats.conf"),
    load: &["--url", "http://127.0.0.1:{port}", "--profile", "nats", "--publish-by", "client"],
    ..OTHER
};

const NCHAN: Server = Server {
    name: "Nchan",
    needs: "/usr/lib/nginx/modules/ngx_nchan_module.so",
    command: &["nginx", "-p", "{home}", "-e", "stderr", "-c", "{home}/nchan.conf"],
    config: Some("nchan.conf"),
    load: &["--url", "http://127.0.0.1:{port}", "--profile", "nchan"],
    ..OTHER
};

const UWEBSOCKETS: Server = Server {
    name: "uWebSockets by socketify",
    needs: "{peers}/python/bin/python",
    command: &["{peers}/python/bin/python", "{files}/uwebsockets.py", "{port}"],
    #[rustfmt::skip]
    load: &[
        "--url", "http://127.0.0.1:{port}", "--profile", "plain", "--publish-by", "client",
        "--set", "open=follow {group}", "--set", "ready=followed", "--set", "publish=publish {group} {payload}",
    ],
    ..OTHER
};

const SOCKETIO: Server = Server {
    name: "Socket.IO",
    needs: "{peers}/node/node_modules/socket.io",
    command: &["node", "{files}/socketio.js", "{port}"],
    environment: &[("NODE_PATH", "{peers}/node/node_modules"), ("NODE_ENV", "production")],
    load: &["--url", "http://127.0.0.1:{port}", "--profile", "socketio", "--publish-by", "client"],
    ..OTHER
};

const SOCKUDO: Server = Server {
    name: "sockudo",
    needs: "{peers}/bin/sockudo",
    command: &["{peers}/bin/sockudo", "--config", "{home}/sockudo.toml"],
    config: Some("sockudo.toml"),
    environment: &[("RUST_LOG", "error")],
    load: &["--url", "http://127.0.0.1:{port}", "--profile", "pusher"],
    ..OTHER
};

const CENTRIFUGO: Server = Server {
    name: "Centrifugo",
    needs: "{peers}/bin/centrifugo",
    command: &["{peers}/bin/centrifugo", "-c", "{home}/centrifugo.json"],
    config: Some("centrifugo.json"),
    load: &["--url", "http://127.0.0.1:{port}", "--profile", "centrifugo"],
    ..OTHER
};

const CHANNELS_DAPHNE: Server = Server {
    name: "Django Channels, core layer, daphne",
    needs: "{peers}/python/bin/daphne",
    #[rustfmt::skip]
    command: &[
        "{peers}/python/bin/daphne", "--bind", "127.0.0.1", "--port", "{port}", "--verbosity", "0", "channels_app:application",
    ],
    environment: &[("CHANNEL_LAYER", "channels_redis.core.RedisChannelLayer"), REDIS_URL, PYTHON_PATH],
    rate: "1",
    redis: true,
    load: CHANNELS,
    ..OTHER
};

const CHANNELS_UVICORN: Server = Server {
    name: "Django Channels, pub/sub layer, uvicorn",
    needs: "{peers}/python/bin/uvicorn",
    #[rustfmt::skip]
    command: &[
        "{peers}/python/bin/uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", "--no-access-log",
        "--ws-per-message-deflate", "false", "channels_app:application",
    ],
    environment: &[("CHANNEL_LAYER", "channels_redis.pubsub.RedisPubSubChannelLayer"), REDIS_URL, PYTHON_PATH],
    rate: "1",
    redis: true,
    load: CHANNELS,
    ..OTHER
};

const REDIS_URL: (&str, &str) = ("REDIS_URL", "redis://127.0.0.1:{redis}");

const PYTHON_PATH: (&str, &str) = ("PYTHONPATH", "{files}");

#[rustfmt::skip]
const CHANNELS: &[&str] = &[
    "--url", "http://127.0.0.1:{port}", "--profile", "plain", "--publish-by", "client",
    "--set", "path=/ws/{group}/", "--set", r#"publish={"message":"{payload}"}"#,
];

/// What a server is unless it says otherwise.
const OTHER: Server = Server {
    name: "",
    needs: "",
    command: &[],
    environment: &[],
    config: None,
    rate: "100",
    redis: false,
    beside: &[],
    cores: None,
    load: &[],
};

/// Ours is the first and in the middle, so that a machine that gets slower or faster shows.
pub(crate) const ALL: &[Server] =
    &[KEEPING, NATS, NCHAN, UWEBSOCKETS, FORGETTING, SOCKETIO, SOCKUDO, CENTRIFUGO, CHANNELS_DAPHNE, CHANNELS_UVICORN];
