//! What is counted of each Redis that a node uses.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::family::{Family, MetricConstructor},
    registry::{Registry, Unit},
};

use super::{Counter, Gauge, Histogram, SECONDS, added};

/// The connections of a node to one Redis.
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

/// Which Redis, as the operator wrote it, without user and password. Not `instance`: that label is what Prometheus calls the node itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    redis: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Link {
    redis: String,
    link: &'static str,
}

/// Makes histograms of seconds.
#[derive(Debug, Clone)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// The families, of which each Redis gets its own metrics.
#[derive(Debug)]
pub(super) struct Families {
    groups: Family<Server, Gauge>,
    interrupted: Family<Server, Gauge>,
    repairs: Family<Server, Counter>,
    refusals: Family<Server, Counter>,
    foreign: Family<Server, Counter>,
    publish: Family<Server, Histogram, Seconds>,
    probe: Family<Server, Histogram, Seconds>,
    up: Family<Link, Gauge>,
    losses: Family<Link, Counter>,
}

impl Families {
    pub(super) fn new(r: &mut Registry) -> Self {
        let mut seconds = |name: &str, help: &str| {
            let family = Family::new_with_constructor(Seconds);
            r.register_with_unit(name, help, Unit::Seconds, family.clone());
            family
        };
        Self {
            publish: seconds("redis_publish", "From giving a publish to Redis to its answer"),
            probe: seconds("redis_probe", "From publishing a probe to its return on the link for events"),
            groups: added(r, "redis_groups", "Groups that this node has subscribed to in Redis"),
            interrupted: added(r, "redis_groups_interrupted", "Groups with members here that may not get events of other nodes"),
            repairs: added(r, "redis_repairs", "Reads that delivered, or told as a gap, what the link for events had lost"),
            refusals: added(r, "redis_refusals", "Commands that Redis refused"),
            foreign: added(r, "redis_foreign_messages", "Messages on channels of this server that are no events"),
            up: added(r, "redis_link_up", "Whether a link to Redis works (1) or not (0)"),
            losses: added(r, "redis_link_losses", "How often a link to Redis that worked was lost"),
        }
    }

    /// The metrics of one Redis, all at zero if it is new.
    pub(super) fn of(&self, redis: &str) -> RedisMetrics {
        let server = || Server { redis: redis.to_owned() };
        let both = [RedisLink::Commands, RedisLink::Events].map(|link| Link { redis: redis.to_owned(), link: link.name() });
        RedisMetrics {
            groups: self.groups.get_or_create(&server()).clone(),
            interrupted: self.interrupted.get_or_create(&server()).clone(),
            repairs: self.repairs.get_or_create(&server()).clone(),
            refusals: self.refusals.get_or_create(&server()).clone(),
            foreign: self.foreign.get_or_create(&server()).clone(),
            publish: self.publish.get_or_create(&server()).clone(),
            probe: self.probe.get_or_create(&server()).clone(),
            up: both.each_ref().map(|link| self.up.get_or_create(link).clone()),
            losses: both.each_ref().map(|link| self.losses.get_or_create(link).clone()),
        }
    }
}

/// What is counted of one Redis. Clones count together.
#[derive(Debug, Clone)]
pub struct RedisMetrics {
    /// Groups that this node has subscribed to there.
    pub groups: Gauge,
    /// Groups that have members here and may not get events of other nodes, since the link was lost and until what was missed has come.
    pub interrupted: Gauge,
    /// Reads that found and delivered what the link for events had lost.
    pub repairs: Counter,
    /// Commands that it refused.
    pub refusals: Counter,
    /// Messages on our channels that are no events.
    pub foreign: Counter,
    /// From giving it a publish to its answer, in seconds.
    pub publish: Histogram,
    /// From publishing a probe to its return on the link for events, in seconds.
    pub probe: Histogram,
    up: [Gauge; 2],
    losses: [Counter; 2],
}

impl RedisMetrics {
    /// A link works, or does not.
    pub fn link(&self, link: RedisLink, up: bool) {
        self.up[link as usize].set(up.into());
    }

    /// A link that worked was lost.
    pub fn link_lost(&self, link: RedisLink) {
        self.losses[link as usize].inc();
    }
}
