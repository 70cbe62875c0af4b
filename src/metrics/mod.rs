//! Metrics: every name in one place.
//!
//! Owns the names, labels and units of everything that `/metrics` shows, and the registry behind it. Does not decide when something counts: the rooms
//! that call it do. Its invariant: every label has a bounded set of values that this program or its operators chose; never a group, a user,
//! a peer's address, or text from a peer.

mod cluster;
mod redis;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{family::Family, info::Info},
    registry::{Metric, Registry, Unit},
};

pub use cluster::{ClusterNode, NodeLink};
pub use redis::{RedisLink, RedisMetrics};

/// Something that only grows.
pub type Counter = prometheus_client::metrics::counter::Counter;

/// Something that goes up and down.
pub type Gauge = prometheus_client::metrics::gauge::Gauge;

/// What [`Metrics::encode`] is, as an HTTP content type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Something that is measured each time, in buckets.
pub type Histogram = prometheus_client::metrics::histogram::Histogram;

/// Buckets of a histogram of seconds: from 0.1 ms to 6.5 s.
const SECONDS: [f64; 9] = [0.000_1, 0.000_4, 0.001_6, 0.006_4, 0.025_6, 0.102_4, 0.409_6, 1.638_4, 6.553_6];

/// The values of the label `transport`.
pub const TRANSPORTS: [&str; 3] = ["websocket", "websocket_tls", "webtransport"];

/// The words of the hello option `transport` that are counted under their own name (`docs/protocol.md`, hello); the first stands for all others.
const CHOICES: [&str; 8] = ["other", "preferred", "blocked", "timeout", "unsupported", "gated", "forced", "cold"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Transport {
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Closed {
    transport: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handshake {
    transport: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorCode {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateFile {
    certificate: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

/// Everything that is counted in one server. Every method is a few relaxed atomic operations; those with labels look their series up under a read
/// lock, so they are for what happens once a connection or once a request. What happens for every frame or delivery is a public field.
#[derive(Debug)]
pub struct Metrics {
    /// Memberships in groups on this node: one for each session and group that it follows.
    pub members: Gauge,
    /// Users in groups whose policy has presence, on this node: each once a group, and all anonymous connections of a group once.
    pub presence: Gauge,
    /// Users in groups who hung on a dead node, and whom this node has removed from Redis.
    pub presence_swept: Counter,
    /// How often this node has told Redis anew who is in its groups.
    pub presence_rebuilds: Counter,
    /// Bytes of frames that wait in outboxes.
    pub outbox_bytes: Gauge,
    /// Events handed to outboxes: one for each event and member.
    pub delivered: Counter,
    /// Frames that clients sent.
    pub frames_in: Counter,
    /// How often a worker's mailbox was full: a publish was refused, or Redis had to wait.
    pub mailbox_full: Counter,
    /// Panics that ended one connection or one request.
    pub panics: Counter,
    /// Directives about users that this node missed and could not read again.
    pub directives_lost: Counter,
    /// New certificates that could not be used, so that the old one still is.
    pub certificates_refused: Counter,
    certificates: Family<CertificateFile, Gauge>,
    redis: redis::Families,
    cluster: cluster::Families,
    connections: Family<Transport, Gauge>,
    closed: Family<Closed, Counter>,
    handshakes: Family<Handshake, Counter>,
    choices: Family<Reason, Counter>,
    published: Family<Source, Counter>,
    dropped: Family<Reason, Counter>,
    gaps: Family<Reason, Counter>,
    errors: Family<ErrorCode, Counter>,
    requests: Family<Request, Counter>,
    reloads: Family<Outcome, Counter>,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers a metric and gives back the handle to it.
fn added<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("fanfare");
        let r = &mut registry;
        // The library appends `_total` to counters and the unit to metrics that have one, and a full stop to each sentence.
        let outbox_bytes = Gauge::default();
        r.register_with_unit("outbox", "Frames that wait in outboxes", Unit::Bytes, outbox_bytes.clone());
        r.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let certificates = Family::default();
        r.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate in use ends, in seconds since 1970-01-01 UTC",
            Unit::Seconds,
            certificates.clone(),
        );
        let metrics = Self {
            certificates,
            certificates_refused: added(r, "certificates_refused", "New certificates that could not be used, so that the old one still is"),
            directives_lost: added(r, "directives_lost", "Directives about users that this node missed and could not read again"),
            redis: redis::Families::new(r),
            cluster: cluster::Families::new(r),
            members: added(r, "members", "Memberships in groups: one for each session and group that it follows"),
            presence: added(r, "presence", "Users in groups whose policy has presence, on this node, each once a group"),
            presence_swept: added(
                r,
                "presence_swept",
                "Users in groups who hung on a dead node, and whom this node has removed from Redis",
            ),
            presence_rebuilds: added(r, "presence_rebuilds", "How often this node had to tell Redis anew who is in its groups"),
            outbox_bytes,
            delivered: added(r, "events_delivered", "Events handed to outboxes, one for each event and member"),
            frames_in: added(r, "frames_received", "Frames that clients sent"),
            mailbox_full: added(
                r,
                "mailbox_full",
                "How often a worker had too much to deliver: a publish was refused, or Redis had to wait",
            ),
            panics: added(r, "panics", "Panics that ended one connection or one request"),
            connections: added(r, "connections", "Open connections"),
            closed: added(r, "connections_closed", "Connections that ended, by the name of the code they were closed with"),
            handshakes: added(r, "handshakes", "Attempts to connect, by what became of them"),
            choices: added(r, "transport_choices", "Why clients chose their transport, as they say in hello"),
            published: added(r, "events_published", "Events accepted, by where they came from"),
            dropped: added(r, "events_dropped", "Events that a member did not get, one for each event and member"),
            gaps: added(r, "gaps", "Gaps that clients were told of"),
            errors: added(r, "error_replies", "Requests of clients answered with an error, by the name of its code"),
            requests: added(r, "http_requests", "HTTP requests answered, by route and status"),
            reloads: added(r, "reloads", "Attempts to reload the configuration, by what became of them"),
            registry,
        };
        // A series that appears with its first event hides that event from rate(); these exist from the start.
        for transport in TRANSPORTS {
            drop(metrics.connections.get_or_create(&Transport { transport }));
        }
        metrics
    }

    /// A connection is open: counts as one until [`Self::connection_closed`] is called with the same transport.
    pub fn connection_opened(&self, transport: &'static str) {
        self.connections.get_or_create(&Transport { transport }).inc();
    }

    /// An open connection has ended; `code` is the name of the code it was closed with.
    pub fn connection_closed(&self, transport: &'static str, code: &'static str) {
        self.connections.get_or_create(&Transport { transport }).dec();
        self.closed.get_or_create(&Closed { transport, code }).inc();
    }

    /// How many connections are open, over all transports.
    #[must_use]
    pub fn connections(&self) -> u64 {
        let open = |transport| self.connections.get_or_create(&Transport { transport }).get();
        TRANSPORTS.into_iter().map(|transport| u64::try_from(open(transport)).unwrap_or(0)).sum()
    }

    /// What is counted of one Redis; `redis` is its address as the operator wrote it, without user and password.
    #[must_use]
    pub fn redis(&self, redis: &str) -> RedisMetrics {
        self.redis.of(redis)
    }

    /// These nodes live, and no others.
    pub fn cluster(&self, nodes: &[ClusterNode]) {
        self.cluster.show(nodes);
    }

    /// The certificate of this file, as its operator named it, is in use, and ends then, in seconds since 1970-01-01 UTC.
    pub fn certificate(&self, file: &str, ends_s: u64) {
        let ends = i64::try_from(ends_s).unwrap_or(i64::MAX);
        self.certificates.get_or_create(&CertificateFile { certificate: file.to_owned() }).set(ends);
    }

    /// An attempt to connect succeeded or failed.
    pub fn handshake(&self, transport: &'static str, outcome: &'static str) {
        self.handshakes.get_or_create(&Handshake { transport, outcome }).inc();
    }

    /// A client said why it chose its transport. Words that `docs/protocol.md` does not list count as `other`.
    pub fn transport_choice(&self, word: &str) {
        let reason = CHOICES.into_iter().find(|known| *known == word).unwrap_or(CHOICES[0]);
        self.choices.get_or_create(&Reason { reason }).inc();
    }

    /// An event was accepted from `api`, `client` or another source.
    pub fn published(&self, source: &'static str) {
        self.published.get_or_create(&Source { source }).inc();
    }

    /// A member did not get `n` events.
    pub fn dropped(&self, reason: &'static str, n: u64) {
        self.dropped.get_or_create(&Reason { reason }).inc_by(n);
    }

    /// A client was told of a gap; `reason` is a name of `docs/protocol.md`, gap.
    pub fn gaps(&self, reason: &'static str) {
        self.gaps.get_or_create(&Reason { reason }).inc();
    }

    /// A client's request was answered with an error.
    pub fn errors(&self, code: &'static str) {
        self.errors.get_or_create(&ErrorCode { code }).inc();
    }

    /// The configuration was reloaded, or was not right and stayed as it was.
    pub fn reloaded(&self, done: bool) {
        self.reloads.get_or_create(&Outcome { outcome: if done { "done" } else { "refused" } }).inc();
    }

    /// An HTTP request was answered. `route` must be the route's pattern, never the path that was asked for.
    pub fn http_requests(&self, route: &str, status: u16) {
        self.requests.get_or_create(&Request { route: route.to_owned(), status }).inc();
    }

    /// All metrics as OpenMetrics text; its content type is [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing into memory can't fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves every metric by a different amount, so that none can be taken for another.
    fn moved() -> Metrics {
        let metrics = Metrics::new();
        metrics.members.inc_by(2);
        metrics.outbox_bytes.set(1_000);
        metrics.presence.set(12);
        metrics.presence_swept.inc_by(13);
        metrics.presence_rebuilds.inc_by(14);
        metrics.delivered.inc_by(3);
        metrics.frames_in.inc_by(4);
        metrics.mailbox_full.inc_by(5);
        metrics.panics.inc_by(6);
        metrics.directives_lost.inc_by(12);
        let redis = metrics.redis("a:1/0");
        redis.groups.set(8);
        redis.repairs.inc_by(9);
        redis.refusals.inc_by(10);
        redis.foreign.inc_by(11);
        redis.publish.observe(0.002);
        redis.probe.observe(1000.0);
        redis.link(RedisLink::Commands, true);
        redis.link(RedisLink::Events, false);
        redis.link_lost(RedisLink::Events);
        metrics.redis("b:1/0").groups.set(12);
        metrics.certificate("/etc/cert.pem", 1_764_000_000);
        metrics.certificates_refused.inc_by(15);
        metrics.dropped("slow", 7);
        metrics.handshake("websocket", "accepted");
        metrics.published("api");
        metrics.gaps("expired");
        metrics.reloaded(false);
        metrics.errors("not_allowed");
        metrics.http_requests("/v1/groups/{group}", 404);
        metrics
    }

    #[test]
    fn every_metric_is_shown_under_its_name() {
        let text = moved().encode();
        for line in [
            "fanfare_members 2",
            "fanfare_outbox_bytes 1000",
            "fanfare_presence 12",
            "fanfare_presence_swept_total 13",
            "fanfare_presence_rebuilds_total 14",
            "# UNIT fanfare_outbox_bytes bytes",
            "fanfare_events_delivered_total 3",
            "fanfare_frames_received_total 4",
            "fanfare_mailbox_full_total 5",
            "fanfare_panics_total 6",
            "fanfare_directives_lost_total 12",
            r#"fanfare_redis_groups{redis="a:1/0"} 8"#,
            r#"fanfare_redis_groups{redis="b:1/0"} 12"#,
            r#"fanfare_redis_repairs_total{redis="a:1/0"} 9"#,
            r#"fanfare_redis_refusals_total{redis="a:1/0"} 10"#,
            r#"fanfare_redis_foreign_messages_total{redis="a:1/0"} 11"#,
            r#"fanfare_redis_publish_seconds_sum{redis="a:1/0"} 0.002"#,
            r#"fanfare_redis_probe_seconds_bucket{le="+Inf",redis="a:1/0"} 1"#,
            r#"fanfare_redis_link_up{redis="a:1/0",link="commands"} 1"#,
            r#"fanfare_redis_link_up{redis="a:1/0",link="events"} 0"#,
            r#"fanfare_redis_link_losses_total{redis="a:1/0",link="events"} 1"#,
            r#"fanfare_certificate_expiry_timestamp_seconds{certificate="/etc/cert.pem"} 1764000000"#,
            "fanfare_certificates_refused_total 15",
            r#"fanfare_events_dropped_total{reason="slow"} 7"#,
            r#"fanfare_handshakes_total{transport="websocket",outcome="accepted"} 1"#,
            r#"fanfare_events_published_total{source="api"} 1"#,
            r#"fanfare_gaps_total{reason="expired"} 1"#,
            r#"fanfare_reloads_total{outcome="refused"} 1"#,
            r#"fanfare_error_replies_total{code="not_allowed"} 1"#,
            r#"fanfare_http_requests_total{route="/v1/groups/{group}",status="404"} 1"#,
            concat!(r#"fanfare_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn opened_and_closed_connections_balance() {
        let metrics = Metrics::new();
        assert!(metrics.encode().contains(r#"fanfare_connections{transport="webtransport"} 0"#));
        metrics.connection_opened("websocket");
        metrics.connection_opened("webtransport");
        metrics.connection_opened("webtransport");
        metrics.connection_closed("webtransport", "going_away");
        let text = metrics.encode();
        assert_eq!(metrics.connections(), 2);
        assert!(text.contains(r#"fanfare_connections{transport="webtransport"} 1"#));
        assert!(text.contains(r#"fanfare_connections_closed_total{transport="webtransport",code="going_away"} 1"#));
    }

    #[test]
    fn words_of_a_peer_never_become_labels() {
        let metrics = Metrics::new();
        ["cold", "cold", "x\"} 1\nevil", "other"].into_iter().for_each(|word| metrics.transport_choice(word));
        let text = metrics.encode();
        assert!(text.contains(r#"fanfare_transport_choices_total{reason="cold"} 2"#));
        assert!(text.contains(r#"fanfare_transport_choices_total{reason="other"} 2"#));
        assert!(!text.contains("evil"));
    }
}
