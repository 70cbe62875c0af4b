//! One or several Redis servers as one broker: each group lives on one of them.
//!
//! Which one is decided by rendezvous hashing (Thaler and Ravishankar, 1998): every server gets a score for the group, and the highest
//! has it. So all nodes that know the same servers agree, in whatever order they name them; a server that is added takes over only the groups
//! in which its score is the highest, and no other group moves. Servers are told apart by [`Config::name`], so all nodes have to write them
//! alike.
//!
//! A group that moves and comes back would find its old counter. So groups begin anew on a server when another one is taken away, and when no
//! node has used the server for a while (`enter.lua`).

use std::{io, sync::Arc};

use sha1::{Digest as _, Sha1};

use super::{Common, Config, Redis, Role, Running, lease};
use crate::{
    broker::{
        Answer, Attendance, Broker, Cluster, Demand, Error, History, Host, Node, Publication, Reached, Receipt, Standing, Users,
        memory::Clock,
    },
    metrics::Metrics,
    protocol::{GroupName, Position, Retention, Roster, UserId},
};

/// See the [module](self).
#[derive(Debug)]
pub struct Spread {
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    seed: u64,
    redis: Arc<Redis>,
}

/// What belongs to no group lives where a group of this name would. No group is called so.
const HOME: &str = "";

impl Spread {
    /// Starts a broker for each server, each with a thread of its own. There has to be at least one.
    ///
    /// # Errors
    /// The system gives no thread, or there is no server.
    pub fn start(configs: Vec<Config>, host: Host, clock: Clock, metrics: Arc<Metrics>) -> io::Result<(Arc<Self>, Vec<Running>)> {
        if configs.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no Redis is named"));
        }
        let common = Common::new(host, clock, metrics);
        let mut names: Vec<String> = configs.iter().map(Config::name).collect();
        let seeds: Vec<u64> = names.iter().map(|name| hash(name)).collect();
        let home = choose(&seeds, HOME);
        names.sort_unstable();
        let (mut servers, mut running) = (Vec::new(), Vec::new());
        for (at, config) in configs.into_iter().enumerate() {
            let others = names.iter().filter(|name| **name != config.name()).map(|name| format!("{name}\n")).collect();
            let (redis, thread) = Redis::start_in(common.clone(), config, Role { numbers: at == home, others })?;
            servers.push(Server { seed: seeds[at], redis });
            running.push(thread);
        }
        Ok((Arc::new(Self { servers }), running))
    }

    /// The server that has a group.
    fn of(&self, group: &GroupName) -> &Redis {
        self.of_name(group.as_str())
    }

    fn of_name(&self, name: &str) -> &Redis {
        &self.servers[choose(self.servers.iter().map(|server| &server.seed), name)].redis
    }

    /// What each server's leases say, as one list: a node that one server knows is there, with the links of which any server knows.
    async fn nodes_now(&self) -> Result<Vec<Node>, Error> {
        let asked = self.servers.iter().map(|server| lease::nodes(&server.redis.commands, &server.redis.pipeline));
        let answers = futures_util::future::join_all(asked).await;
        if answers.iter().all(Result::is_err) {
            return answers.into_iter().next().unwrap_or(Ok(Vec::new()));
        }
        let mut nodes: Vec<Node> = Vec::new();
        for node in answers.into_iter().flatten().flatten() {
            match nodes.iter_mut().find(|known| known.id == node.id) {
                Some(known) => known.links.extend(node.links),
                None => nodes.push(node),
            }
        }
        Ok(nodes)
    }
}

/// The place of the server with the highest score; of two with the same, which are the same server, the first.
fn choose<'a>(seeds: impl IntoIterator<Item = &'a u64>, group: &str) -> usize {
    let group = hash(group);
    let scores = seeds.into_iter().map(|seed| mixed(seed ^ group)).enumerate();
    scores.reduce(|best, one| if one.1 > best.1 { one } else { best }).map_or(0, |(at, _)| at)
}

/// The first eight bytes of the SHA-1: the same on every machine and in every version.
fn hash(text: &str) -> u64 {
    let digest: [u8; 20] = Sha1::digest(text).into();
    digest[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Spreads what differs in a few bits over all of them (the last step of splitmix64; Steele, Lea and Flood, 2014).
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

impl Broker for Spread {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn ready(&self) -> Result<(), String> {
        if let [only] = &self.servers[..] {
            return only.redis.ready();
        }
        let count = self.servers.len();
        let trouble = |(at, server): (usize, &Server)| Some(format!("Redis {} of {count}: {}", at + 1, server.redis.status.trouble()?));
        // By number and not by address: anybody may ask.
        let broken: Vec<String> = self.servers.iter().enumerate().filter_map(trouble).collect();
        if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
    }

    fn publish(&self, publication: Publication) -> Answer<'_, Receipt> {
        self.of(&publication.group).publish(publication)
    }

    fn attach<'a>(&'a self, group: &'a GroupName, retention: Option<Retention>) -> Answer<'a, Position> {
        self.of(group).attach(group, retention)
    }

    fn detach(&self, group: &GroupName) {
        self.of(group).detach(group);
    }

    fn history<'a>(&'a self, group: &'a GroupName, after: u64, up_to: u64, limit: usize) -> Answer<'a, History> {
        self.of(group).history(group, after, up_to, limit)
    }

    fn attend(&self, attendances: Vec<Attendance>) {
        for attendance in attendances {
            self.of(&attendance.group).attend(vec![attendance]);
        }
    }

    fn roster<'a>(&'a self, group: &'a GroupName, after: Option<&'a UserId>, limit: usize) -> Answer<'a, Roster> {
        self.of(group).roster(group, after, limit)
    }
}

impl Users for Spread {
    fn direct<'a>(&'a self, user: &'a UserId, demand: Demand) -> Answer<'a, Reached> {
        self.of_name(user.as_str()).direct(user, demand)
    }

    fn standing<'a>(&'a self, user: &'a UserId) -> Answer<'a, Standing> {
        self.of_name(user.as_str()).standing(user)
    }
}

impl Cluster for Spread {
    fn node(&self) -> Node {
        let mut node = self.servers[0].redis.node();
        node.links = self.servers.iter().flat_map(|server| server.redis.status.links()).collect();
        node
    }

    fn nodes(&self) -> Answer<'_, Vec<Node>> {
        Box::pin(self.nodes_now())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seeds(names: &[String]) -> Vec<u64> {
        names.iter().map(|name| hash(name)).collect()
    }

    fn owner<'a>(names: &'a [String], group: &str) -> &'a str {
        &names[choose(&seeds(names), group)]
    }

    #[test]
    fn places_are_the_same_in_every_version() {
        let names: Vec<String> = (1..=3).map(|n| format!("redis-{n}.example:6379/0")).collect();
        let places: Vec<usize> = ["sales_team", "user.ann", "live_x", "user.bob", "user.eve", "support", "c", ""]
            .map(|group| choose(&seeds(&names), group))
            .into();
        assert_eq!(places, [1, 2, 2, 2, 0, 1, 2, 2]);
    }

    #[test]
    fn every_server_has_its_share() {
        let names: Vec<String> = (0..5).map(|n| format!("10.0.0.{n}:6379/0")).collect();
        let mut shares = [0; 5];
        (0..50_000).for_each(|n| shares[choose(&seeds(&names), &format!("team_{n}"))] += 1);
        assert!(shares.iter().all(|share| (9_500..=10_500).contains(share)), "{shares:?}");
    }

    proptest! {
        #[test]
        fn a_server_that_is_added_takes_its_share_and_nothing_else_moves(
            names in proptest::collection::hash_set("[a-z0-9.]{1,20}:[0-9]{1,5}/[0-9]", 2..12),
            salt in any::<u32>(),
        ) {
            let mut names: Vec<String> = names.into_iter().collect();
            let after = seeds(&names);
            names.pop();
            let before = seeds(&names);
            let groups = (0..400).map(|n| format!("team_{salt}_{n}"));
            let mut moved = 0u32;
            for group in groups {
                let (was, is) = (choose(&before, &group), choose(&after, &group));
                prop_assert!(was == is || is == names.len());
                moved += u32::from(was != is);
            }
            // A share of 400 groups; eight standard deviations of room.
            let share = 400.0 / f64::from(u32::try_from(after.len()).unwrap());
            prop_assert!((f64::from(moved) - share).abs() < 8.0 * share.sqrt(), "{moved} of 400 moved to one of {}", after.len());
        }

        #[test]
        fn the_order_of_the_servers_does_not_matter(
            names in proptest::collection::hash_set("[a-z0-9.]{1,20}:[0-9]{1,5}", 1..12).prop_map(|names| names.into_iter().collect::<Vec<_>>()),
            by in 0usize..12,
            group in "[A-Za-z0-9_.@-]{1,30}",
        ) {
            let mut turned = names.clone();
            turned.rotate_left(by % names.len());
            prop_assert_eq!(owner(&names, &group), owner(&turned, &group));
        }
    }
}
