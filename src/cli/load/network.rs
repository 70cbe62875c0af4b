//! A bad network between subscribers and server.

use std::time::Duration;

use super::{super::Failure, share};
use crate::load::{
    Plan, Transport,
    relay::{Bandwidth, Carries, Cut, Faults, Relay},
};

/// What is to go wrong between subscribers and server; publishers are spared.
#[derive(Debug, clap::Args)]
pub(super) struct Network {
    /// Share of packets that get lost, such as 1%; over TCP they come a retransmission later
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share, help_heading = "Network")]
    loss: f64,
    /// How long a packet is on its way in each direction, such as 50ms
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time, help_heading = "Network")]
    delay: Duration,
    /// By how much longer at most
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time, help_heading = "Network")]
    jitter: Duration,
    /// Share of packets of UDP that later ones overtake
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share, help_heading = "Network")]
    reorder: f64,
    /// What gets through in each direction of a connection, such as 10mbit
    #[arg(long, value_name = "BITS", help_heading = "Network")]
    bandwidth: Option<Bandwidth>,
    /// Nothing gets through for so long from then on, such as 2@5: for 2 s, 5 s after the beginning
    #[arg(long, value_name = "SECONDS@SECONDS", help_heading = "Network")]
    cut: Option<Cut>,
    /// No packet of UDP gets through
    #[arg(long, help_heading = "Network")]
    udp_blocked: bool,
}

/// A time with its unit.
fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("s", 1.0)];
    let found = units.into_iter().find_map(|(unit, scale)| text.strip_suffix(unit).map(|digits| (digits, scale)));
    let seconds = found.and_then(|(digits, scale)| Some(digits.parse::<f64>().ok()? * scale));
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|time| *time <= Duration::from_secs(60));
    time.ok_or_else(|| "has to be a time of at most a minute, such as 50ms".into())
}

impl Network {
    /// Puts a relay in the way of the plan's subscribers; `None`: nothing is to go wrong.
    pub(super) fn relay(&self, plan: &mut Plan) -> Result<Option<Relay>, Failure> {
        let Self { loss, delay, jitter, reorder, bandwidth, cut, udp_blocked } = *self;
        let faults = Faults { loss, delay, jitter, reorder, bandwidth, cut, udp_blocked };
        if faults == Faults::default() {
            return Ok(None);
        }
        if !(0.0..1.0).contains(&loss) || !(0.0..1.0).contains(&reorder) {
            return Err(Failure::usage("--loss and --reorder are shares: from 0% to below 100%"));
        }
        let mut relay = Relay::new(faults, plan.seed);
        plan.relayed = true;
        for way in plan.subscribers.iter_mut().chain(&mut plan.idle).map(|(way, _)| way).chain(&mut plan.failover) {
            let carries = if way.transport == Transport::Wt { Carries::Udp } else { Carries::Tcp };
            way.addr = relay.route(carries, way.addr).map_err(|error| Failure::running(format!("the relay can't be started: {error}")))?;
            if carries == Carries::Udp {
                // QUIC is told by its URL where to go; the name in the certificate matters only where it is not pinned.
                way.host = way.addr.to_string();
            }
        }
        Ok(Some(relay))
    }
}
