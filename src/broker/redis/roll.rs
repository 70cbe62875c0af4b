//! What this node has to say, and has said, of who is in its groups: the state behind `presence`. No I/O and no clock.
//!
//! In: attendances, and what became of batches. Out: [`Roll::batch`]. Redis takes the batches of one roll in order and each once, so a batch whose
//! outcome is not known is given again as it was. If Redis has lost some, the node begins another roll and says everything again; what hangs on the old
//! one is swept when all is said, so nobody is seen to leave.

use std::collections::{HashMap, VecDeque};

use super::command::{Command, Commands, Part};
use crate::{
    broker::Attendance,
    protocol::{GroupName, UserId},
};

/// Groups and people in one batch: a few ms of Redis at most.
const GROUPS: usize = 64;
const PEOPLE: usize = 500;

/// People of one group in one batch: they are told to members in one frame.
const PEOPLE_OF_A_GROUP: usize = 100;

/// See the [module](self). Its invariant: what Redis has taken, the batch that is under way, and what is marked as new make up what is here.
pub(super) struct Roll {
    node: String,
    /// Which roll of this life of the node.
    turn: u64,
    /// Batches of this roll that Redis has taken.
    taken: u64,
    groups: HashMap<GroupName, Present>,
    /// Groups in which something is new, each once.
    news: VecDeque<GroupName>,
    /// The batch that has been given, until its outcome is known.
    under_way: Option<Command>,
}

#[derive(Default)]
struct Present {
    live: bool,
    people: HashMap<Option<UserId>, Person>,
    /// Of whom something is new, each once.
    news: VecDeque<Option<UserId>>,
}

struct Person {
    connections: u64,
    is_new: bool,
}

impl Roll {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), turn: 1, taken: 0, groups: HashMap::new(), news: VecDeque::new(), under_way: None }
    }

    /// The name of the present roll.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.node, self.turn)
    }

    /// The node whose roll has this name.
    pub(super) fn node_of(name: &str) -> &str {
        name.rsplit_once('.').map_or(name, |(node, _)| node)
    }

    /// Batches of the present roll that Redis has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether Redis has taken everything.
    pub(super) fn is_said(&self) -> bool {
        self.news.is_empty() && self.under_way.is_none()
    }

    /// Whether members of the group here are told who comes and goes.
    pub(super) fn is_live(&self, group: &str) -> bool {
        self.groups.get(group).is_some_and(|present| present.live)
    }

    pub(super) fn attend(&mut self, Attendance { group, live, connections }: Attendance) {
        let present = self.groups.entry(group.clone()).or_default();
        present.live = live;
        let nothing_new = present.news.is_empty();
        for (who, connections) in connections {
            let person = present.people.entry(who.clone()).or_insert(Person { connections: 0, is_new: false });
            person.connections = connections;
            if !std::mem::replace(&mut person.is_new, true) {
                present.news.push_back(who);
            }
        }
        if nothing_new && !present.news.is_empty() {
            self.news.push_back(group);
        }
    }

    /// What is to be given to Redis now: the batch whose outcome is not known, or the next one.
    pub(super) fn batch(&mut self, commands: &Commands, fresh_epoch: u32) -> Option<Command> {
        if self.under_way.is_none() {
            let parts = self.parts();
            self.under_way = (!parts.is_empty()).then(|| commands.attend(&self.name(), self.taken + 1, fresh_epoch, &parts));
        }
        self.under_way.clone()
    }

    fn parts(&mut self) -> Vec<Part> {
        let (mut parts, mut room) = (Vec::new(), PEOPLE);
        while parts.len() < GROUPS
            && room > 0
            && let Some(group) = self.news.pop_front()
        {
            let Some(present) = self.groups.get_mut(&group) else { continue };
            let people = present.take_news(room.min(PEOPLE_OF_A_GROUP));
            room -= people.len();
            parts.push(Part { group: group.clone(), live: present.live, people });
            if !present.news.is_empty() {
                self.news.push_back(group);
            } else if present.people.is_empty() {
                self.groups.remove(&group);
            }
        }
        parts
    }

    /// Redis has taken the batch.
    pub(super) fn confirm(&mut self) {
        if self.under_way.take().is_some() {
            self.taken += 1;
        }
    }

    /// Redis does not have what it had taken: all is said again.
    pub(super) fn begin_anew(&mut self) {
        self.turn += 1;
        self.taken = 0;
        self.under_way = None;
        self.news.clear();
        self.groups.retain(|group, present| {
            present.renew();
            if !present.news.is_empty() {
                self.news.push_back(group.clone());
            }
            !present.news.is_empty()
        });
    }
}

impl Present {
    fn take_news(&mut self, most: usize) -> Vec<(Option<UserId>, u64)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(who) = self.news.pop_front()
        {
            let Some(person) = self.people.get_mut(&who) else { continue };
            person.is_new = false;
            let connections = person.connections;
            if connections == 0 {
                self.people.remove(&who);
            }
            taken.push((who, connections));
        }
        taken
    }

    /// Everybody is new; nobody is missed.
    fn renew(&mut self) {
        self.people.retain(|_, person| person.connections > 0);
        self.people.values_mut().for_each(|person| person.is_new = true);
        self.news = self.people.keys().cloned().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> GroupName {
        GroupName::parse(name).unwrap()
    }

    fn attend(roll: &mut Roll, name: &str, people: &[(&str, u64)]) {
        let connections = people.iter().map(|(who, count)| (UserId::parse(who).ok(), *count)).collect();
        roll.attend(Attendance { group: group(name), live: true, connections });
    }

    /// What the next batch says, as `a: ann 1, bob 0`.
    fn said(roll: &mut Roll) -> Vec<String> {
        let said = roll.parts().into_iter().map(|part| {
            let mut people: Vec<_> =
                part.people.iter().map(|(who, n)| format!("{} {n}", who.as_ref().map_or("*", UserId::as_str))).collect();
            people.sort();
            format!("{}: {}", part.group, people.join(", "))
        });
        said.collect()
    }

    #[test]
    fn only_the_latest_is_said_and_who_is_gone_is_forgotten() {
        let mut roll = Roll::new("n");
        attend(&mut roll, "a", &[("ann", 1), ("", 2)]);
        attend(&mut roll, "b", &[("bob", 1)]);
        attend(&mut roll, "a", &[("ann", 3)]);
        assert_eq!(said(&mut roll), ["a: * 2, ann 3", "b: bob 1"]);
        attend(&mut roll, "b", &[("bob", 0)]);
        assert!(roll.is_live("b"));
        assert_eq!(said(&mut roll), ["b: bob 0"]);
        assert!(!roll.is_live("b") && roll.is_said());
    }

    #[test]
    fn a_batch_without_outcome_is_given_again_as_it_was() {
        let commands = Commands::new("fanfare");
        let written = |command: &Command| {
            let mut out = bytes::BytesMut::new();
            command.write(&mut out, false);
            out
        };
        let mut roll = Roll::new("n");
        attend(&mut roll, "a", &[("ann", 1)]);
        let first = roll.batch(&commands, 1).unwrap();
        attend(&mut roll, "a", &[("ann", 0)]);
        assert_eq!(written(&roll.batch(&commands, 2).unwrap()), written(&first));
        roll.confirm();
        assert_ne!(written(&roll.batch(&commands, 2).unwrap()), written(&first));
        assert!(!roll.is_said());
        roll.confirm();
        assert_eq!((roll.taken(), roll.is_said()), (2, true));
        assert!(roll.batch(&commands, 3).is_none());
    }

    #[test]
    fn another_roll_says_everything_again_and_nobody_who_has_gone() {
        let mut roll = Roll::new("a.b");
        attend(&mut roll, "a", &[("ann", 1), ("bob", 1)]);
        attend(&mut roll, "b", &[("cy", 1)]);
        said(&mut roll);
        attend(&mut roll, "a", &[("bob", 0)]);
        attend(&mut roll, "b", &[("cy", 0)]);
        roll.begin_anew();
        assert_eq!((roll.name().as_str(), roll.taken(), Roll::node_of(&roll.name())), ("a.b.2", 0, "a.b"));
        assert_eq!(said(&mut roll), ["a: ann 1"]);
    }

    #[test]
    fn batches_are_bounded_and_a_large_group_does_not_keep_others_waiting() {
        let mut roll = Roll::new("n");
        let crowd: Vec<_> = (0..250).map(|n| (Some(UserId::parse(&format!("u{n}")).unwrap()), 1)).collect();
        roll.attend(Attendance { group: group("large"), live: false, connections: crowd });
        (0..100).for_each(|n| attend(&mut roll, &format!("g{n}"), &[("ann", 1)]));
        let mut batch = || {
            let parts = roll.parts();
            (parts.len(), parts.iter().map(|part| part.people.len()).max().unwrap_or(0))
        };
        assert_eq!((batch(), batch(), batch()), ((64, 100), (39, 100), (0, 0)));
    }
}
