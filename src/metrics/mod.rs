//! Metrics: every name in one place.
//!
//! Owns the names, labels and units of everything that `/metrics` shows, and the registry behind it. Does not decide when something counts: the rooms
//! that call it do. Its invariant: every label has a bounded set of values that this program chose itself; never a group, a user, an address, or text
//! from a peer.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{family::Family, histogram::exponential_buckets, info::Info},
    registry::{Metric, Registry, Unit},
};

/// Something that only grows.
pub type Counter = prometheus_client::metrics::counter::Counter;

/// Something that goes up and down.
pub type Gauge = prometheus_client::metrics::gauge::Gauge;

/// What [`Metrics::encode`] is, as an HTTP content type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Something that is measured each time, in buckets.
pub type Histogram = prometheus_client::metrics::histogram::Histogram;

/// The connections of a node to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisLink {
    /// Publishing and reading.
    Commands,
    /// What other nodes, and this one, have published.
    Events,
}

impl RedisLink {
    /// The value of the label `link`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Events => "events",
        }
    }
}

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
struct Link {
    link: &'static str,
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
    /// Groups that this node has subscribed to in Redis.
    pub redis_groups: Gauge,
    /// Reads that found and delivered what the link for events had lost.
    pub redis_repairs: Counter,
    /// Commands that Redis refused.
    pub redis_refusals: Counter,
    /// Messages on our channels that are no events.
    pub redis_foreign: Counter,
    /// From giving a publish to Redis to its answer, in seconds.
    pub redis_publish: Histogram,
    /// From publishing a probe to its return on the link for events, in seconds.
    pub redis_probe: Histogram,
    redis_links: Family<Link, Gauge>,
    redis_losses: Family<Link, Counter>,
    connections: Family<Transport, Gauge>,
    closed: Family<Closed, Counter>,
    handshakes: Family<Handshake, Counter>,
    choices: Family<Reason, Counter>,
    published: Family<Source, Counter>,
    dropped: Family<Reason, Counter>,
    gaps: Family<Reason, Counter>,
    errors: Family<ErrorCode, Counter>,
    requests: Family<Request, Counter>,
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

/// Registers a histogram of seconds, from 0.1 ms to 6.5 s.
fn seconds(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let metric = Histogram::new(exponential_buckets(0.000_1, 4.0, 9));
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
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
        let redis_publish = seconds(r, "redis_publish", "From giving a publish to Redis to its answer");
        let redis_probe = seconds(r, "redis_probe", "From publishing a probe to its return on the link for events");
        let metrics = Self {
            redis_publish,
            redis_probe,
            redis_groups: added(r, "redis_groups", "Groups that this node has subscribed to in Redis"),
            redis_repairs: added(r, "redis_repairs", "Reads that delivered, or told as a gap, what the link for events had lost"),
            redis_refusals: added(r, "redis_refusals", "Commands that Redis refused"),
            redis_foreign: added(r, "redis_foreign_messages", "Messages on channels of this server that are no events"),
            redis_links: added(r, "redis_link_up", "Whether a link to Redis works (1) or not (0)"),
            redis_losses: added(r, "redis_link_losses", "How often a link to Redis that worked was lost"),
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

    /// A link to Redis works, or does not.
    pub fn redis_link(&self, link: RedisLink, up: bool) {
        self.redis_links.get_or_create(&Link { link: link.name() }).set(up.into());
    }

    /// A link to Redis that worked was lost.
    pub fn redis_link_lost(&self, link: RedisLink) {
        self.redis_losses.get_or_create(&Link { link: link.name() }).inc();
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
        metrics.redis_groups.set(8);
        metrics.redis_repairs.inc_by(9);
        metrics.redis_refusals.inc_by(10);
        metrics.redis_foreign.inc_by(11);
        metrics.redis_publish.observe(0.002);
        metrics.redis_probe.observe(1000.0);
        metrics.redis_link(RedisLink::Commands, true);
        metrics.redis_link(RedisLink::Events, false);
        metrics.redis_link_lost(RedisLink::Events);
        metrics.dropped("slow", 7);
        metrics.handshake("websocket", "accepted");
        metrics.published("api");
        metrics.gaps("expired");
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
            "fanfare_redis_groups 8",
            "fanfare_redis_repairs_total 9",
            "fanfare_redis_refusals_total 10",
            "fanfare_redis_foreign_messages_total 11",
            "fanfare_redis_publish_seconds_sum 0.002",
            r#"fanfare_redis_probe_seconds_bucket{le="+Inf"} 1"#,
            r#"fanfare_redis_link_up{link="commands"} 1"#,
            r#"fanfare_redis_link_up{link="events"} 0"#,
            r#"fanfare_redis_link_losses_total{link="events"} 1"#,
            r#"fanfare_events_dropped_total{reason="slow"} 7"#,
            r#"fanfare_handshakes_total{transport="websocket",outcome="accepted"} 1"#,
            r#"fanfare_events_published_total{source="api"} 1"#,
            r#"fanfare_gaps_total{reason="expired"} 1"#,
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
