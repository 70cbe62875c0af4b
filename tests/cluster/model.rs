//! Anything at any time, compared with a simple model.
//!
//! A history is a row of steps that a seed decides: publish on any node, follow, drop, come back on any node, kill a node, restart or empty
//! Redis, harm a link. What holds, whatever the steps: one order for each group; no event twice to the application; every event that was
//! confirmed while a member followed, or was away with a position, is delivered to it or covered by a gap that it was told; nothing comes
//! that was not sent; nothing comes to who does not follow. `FANFARE_MODEL_SEED=7` runs one history, `FANFARE_MODEL_RUNS=1000` so many.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use fanfare::{
    client::{Client, Transport},
    protocol::{ClientFrame, Dialect, Hello, Position, Recovery, ServerFrame, Subscribe},
};

use crate::{
    common::{TestServer, soon, until},
    nodes::{light_node, redis_config, text_of},
    redis::RedisServer,
    relay::{Relay, Weather},
};

/// Histories that a run of all tests tries.
const RUNS: u64 = 12;
const STEPS: usize = 60;
const NODES: usize = 2;
const GROUPS: [&str; 2] = ["team", "live_x"];

/// Numbers that a seed decides (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }
}

/// What an application sees of one group: what a client that follows the protocol gives it.
#[derive(Default)]
struct Seen {
    /// Texts in the order in which they came.
    texts: Vec<String>,
    position: Option<Position>,
    /// It came back and was told that it isn't known how much is lost: the next event may have any offset.
    lost: bool,
    /// How often a gap was told.
    gaps: usize,
    /// For each text that was confirmed while this member was due it: how many gaps had been told.
    due: Vec<(String, usize)>,
}

/// A member that comes and goes.
struct Person {
    client: Option<Client>,
    node: usize,
    /// Follows [`GROUPS`] with these numbers.
    numbers: HashMap<u32, &'static str>,
    seen: HashMap<&'static str, Seen>,
    requests: u32,
}

impl Person {
    fn new() -> Self {
        let seen = GROUPS.into_iter().map(|group| (group, Seen::default())).collect();
        Self { client: None, node: 0, numbers: HashMap::new(), seen, requests: 0 }
    }

    /// Connects to a node and follows every group from where it was. Says whether that was possible.
    async fn come(&mut self, node: &TestServer, at: usize) -> bool {
        let target = node.target((Transport::Websocket, Dialect::Msgpack));
        let Ok((client, _)) = soon(Client::open(&target, Hello { version: 1, ..Hello::default() })).await else { return false };
        (self.client, self.node) = (Some(client), at);
        self.numbers.clear();
        for group in GROUPS {
            if !self.follow(group).await {
                self.client = None;
                return false;
            }
        }
        true
    }

    async fn follow(&mut self, group: &'static str) -> bool {
        self.requests += 1;
        let request = self.requests;
        let since = self.seen[group].position;
        let frame = ClientFrame::Subscribe(Subscribe { request, group: group.into(), since });
        if soon(self.client.as_mut().unwrap().send(&frame)).await.is_err() {
            return false;
        }
        loop {
            match soon(self.client.as_mut().unwrap().recv()).await {
                Ok(ServerFrame::Subscribed { request: of, number, position, recovery, .. }) if of == request => {
                    self.numbers.insert(number, group);
                    let seen = self.seen.get_mut(group).unwrap();
                    seen.lost = recovery == Recovery::Lost;
                    seen.position = Some(match (seen.position, since) {
                        (Some(had), Some(_)) if had.epoch == position.epoch => had,
                        _ => Position { offset: if since.is_some() { 0 } else { position.offset }, ..position },
                    });
                    return true;
                }
                Ok(ServerFrame::Error { request: of, .. }) if of == request => return false,
                Ok(frame) => self.take(frame),
                Err(_) => return false,
            }
        }
    }

    /// Does with a frame what a client does.
    fn take(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Event { number, event } => {
                let group = self.numbers.get(&number).expect("nothing comes of a group that is not followed");
                let seen = self.seen.get_mut(group).unwrap();
                let position = seen.position.as_mut().unwrap();
                if event.offset > 0 {
                    if event.offset <= position.offset {
                        return;
                    }
                    let lost = std::mem::take(&mut seen.lost);
                    let continues = event.offset == position.offset + 1 || lost;
                    assert!(continues, "{} of {group} leaves a hole that was not told: at {position:?}", event.offset);
                    position.offset = event.offset;
                }
                seen.texts.push(text_of(&event));
            }
            ServerFrame::Gap { number, gap } => {
                let group = self.numbers.get(&number).expect("nothing comes of a group that is not followed");
                let seen = self.seen.get_mut(group).unwrap();
                seen.gaps += 1;
                let position = seen.position.as_mut().unwrap();
                if gap.epoch != position.epoch {
                    *position = Position { epoch: gap.epoch, offset: gap.to };
                } else if gap.to > 0 {
                    assert!(gap.from == position.offset + 1 || std::mem::take(&mut seen.lost), "a gap begins where events end");
                    position.offset = gap.to;
                }
            }
            other => panic!("{other:?} was not asked for"),
        }
    }

    /// Takes what comes until a text has been seen in every group, or the connection ends.
    async fn read_until(&mut self, last: &HashMap<&'static str, String>) -> bool {
        while !last.iter().all(|(group, text)| self.seen[group].texts.contains(text)) {
            match soon(self.client.as_mut().unwrap().recv()).await {
                Ok(frame) => self.take(frame),
                Err(_) => return false,
            }
        }
        true
    }
}

/// Keeps a copy of the newest event with another text, as the script does, but tells nobody.
const SILENTLY: &str = "local newest = redis.call('XREVRANGE', 'fanfare:h:team', '+', '-', 'COUNT', 1)[1]
    if not newest then return 0 end
    local o = redis.call('HINCRBY', 'fanfare:m:team', 'o', 1)
    local d = string.sub(newest[2][2], 1, 4) .. struct.pack('>I8', o) .. string.sub(newest[2][2], 13)
    redis.call('XADD', 'fanfare:h:team', o .. '-0', 'd', (string.gsub(d, 'team %d+', ARGV[1])))
    return o";

/// Everything that there is.
struct World {
    redis: RedisServer,
    relays: Vec<Relay>,
    nodes: Vec<Option<TestServer>>,
    people: Vec<Person>,
    published: usize,
    sent: HashSet<String>,
}

impl World {
    async fn new() -> Self {
        let redis = RedisServer::start();
        let relays: Vec<Relay> = (0..NODES).map(|_| Relay::to(redis.addr())).collect();
        let nodes = relays.iter().map(|relay| Some(light_node(redis_config(&relay.url())))).collect();
        let people = (0..3).map(|_| Person::new()).collect();
        let world = Self { redis, relays, nodes, people, published: 0, sent: HashSet::new() };
        world.ready().await;
        world
    }

    async fn ready(&self) {
        for node in self.nodes.iter().flatten() {
            until("a node is ready", || node.parts.broker.ready().is_ok()).await;
        }
    }

    async fn step(&mut self, dice: &mut Dice) {
        let node = dice.roll(NODES);
        match dice.roll(22) {
            0..=8 => {
                for _ in 0..=dice.roll(4) {
                    self.publish(node, GROUPS[dice.roll(2)]).await;
                }
            }
            9..=11 => {
                let person = dice.roll(self.people.len());
                self.come(person, node).await;
            }
            12 => {
                let person = dice.roll(self.people.len());
                self.people[person].client = None;
            }
            13 => self.restart_node(node),
            14 => drop(self.redis.ask("FLUSHALL")),
            15 => {
                self.redis.stop();
                self.redis.run();
            }
            16 => {
                drop(self.redis.ask("CLIENT KILL TYPE pubsub"));
                // Some are published before the links are back, and some just after.
                for _ in 0..20 {
                    self.publish(node, GROUPS[dice.roll(2)]).await;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
            17 => self.relays[node].set(Weather::CutMidReply),
            19 | 20 => self.lose_in_silence(),
            18 => self.relays[node]
                .set([Weather::Cut, Weather::Stalled, Weather::HalfOpen, Weather::Slow(Duration::from_millis(3))][dice.roll(4)]),
            _ => self.relays.iter().for_each(|relay| relay.set(Weather::Fair)),
        }
    }

    /// A node dies and another one takes its place; connections to it are gone.
    fn restart_node(&mut self, node: usize) {
        self.people.iter_mut().filter(|person| person.node == node).for_each(|person| person.client = None);
        self.nodes[node] = None;
        self.nodes[node] = Some(light_node(redis_config(&self.relays[node].url())));
    }

    async fn come(&mut self, person: usize, node: usize) {
        if self.people[person].client.is_none() {
            let server = self.nodes[node].as_ref().unwrap();
            self.people[person].come(server, node).await;
        }
    }

    /// Publishes, and notes who has a claim to the event if that was confirmed.
    async fn publish(&mut self, node: usize, group: &'static str) -> Option<String> {
        self.published += 1;
        let text = format!("{group} {:08}", self.published);
        self.sent.insert(text.clone());
        let server = self.nodes[node].as_ref().unwrap();
        soon(server.try_publish(group, &text, None)).await.ok()?;
        self.note_due(group, &text);
        Some(text)
    }

    /// Who is there, or away with a position, has a claim to what was confirmed.
    fn note_due(&mut self, group: &'static str, text: &str) {
        for person in &mut self.people {
            let follows = person.client.is_some();
            let seen = person.seen.get_mut(group).unwrap();
            // Who is away has a claim through its position, if the group has positions.
            if seen.position.is_some_and(|position| follows || position.is_kept()) {
                seen.due.push((text.to_owned(), seen.gaps));
            }
        }
    }

    /// An event is kept, but its message is lost on the way to every node.
    fn lose_in_silence(&mut self) {
        self.published += 1;
        let text = format!("team {:08}", self.published);
        if self.redis.command(&["EVAL", SILENTLY, "0", &text]).trim() != ":0" {
            self.sent.insert(text.clone());
            self.note_due("team", &text);
        }
    }

    /// All is well again, everybody is there, and everything that is due comes.
    async fn settle(&mut self) {
        self.relays.iter().for_each(|relay| relay.set(Weather::Fair));
        self.ready().await;
        for person in 0..self.people.len() {
            self.come(person, person % NODES).await;
        }
        let mut last = HashMap::new();
        for group in GROUPS {
            let published = loop {
                if let Some(text) = self.publish(0, group).await {
                    break text;
                }
            };
            last.insert(group, published);
        }
        for at in 0..self.people.len() {
            // A connection that had died without anybody looking is made anew, once.
            if self.people[at].client.is_none() || !self.people[at].read_until(&last).await {
                let server = self.nodes[at % NODES].as_ref().unwrap();
                assert!(self.people[at].come(server, at % NODES).await, "a healthy node takes everybody");
                let last = last.iter().filter(|(group, _)| **group == "team").map(|(group, text)| (*group, text.clone())).collect();
                assert!(self.people[at].read_until(&last).await);
            }
        }
    }

    fn check(&self) {
        for person in &self.people {
            for (group, seen) in &person.seen {
                let mut once = HashSet::new();
                for text in &seen.texts {
                    assert!(once.insert(text), "{text} came twice");
                    assert!(self.sent.contains(text) && text.starts_with(group), "{text} was not sent to {group}");
                }
                for (text, gaps) in &seen.due {
                    assert!(once.contains(text) || seen.gaps > *gaps, "{text} is missing and no gap was told");
                }
            }
        }
        for group in GROUPS {
            let orders: Vec<&Vec<String>> = self.people.iter().map(|person| &person.seen[group].texts).collect();
            for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                assert!(agree(orders[one], orders[other]), "{group} has two orders: {:?} and {:?}", orders[one], orders[other]);
            }
        }
    }
}

/// What both have seen, both have seen in the same order.
fn agree(one: &[String], other: &[String]) -> bool {
    let places: HashMap<&String, usize> = other.iter().enumerate().map(|(at, text)| (text, at)).collect();
    let common: Vec<usize> = one.iter().filter_map(|text| places.get(text).copied()).collect();
    common.is_sorted()
}

async fn history(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::new().await;
    for _ in 0..STEPS {
        world.step(&mut dice).await;
    }
    world.settle().await;
    world.check();
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn whatever_happens_the_promise_holds() {
    let seeds = match setting("FANFARE_MODEL_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=setting("FANFARE_MODEL_RUNS").unwrap_or(RUNS),
    };
    for seed in seeds {
        println!("history of seed {seed}");
        history(seed).await;
    }
}
