//! The commands of presence.

use std::{sync::LazyLock, time::Duration};

use super::{Command, Commands, Script, ms};
use crate::protocol::{GroupName, UserId};

static ATTEND: LazyLock<Script> = LazyLock::new(|| Script::new([include_str!("../presence.lua"), include_str!("../attend.lua")].concat()));
static SWEEP: LazyLock<Script> = LazyLock::new(|| Script::new([include_str!("../presence.lua"), include_str!("../sweep.lua")].concat()));
static CONDEMN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../condemn.lua").to_owned()));
static ROSTER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../roster.lua").to_owned()));

/// How the scripts name all anonymous connections of a group together. No user id contains this sign.
const ANONYMOUS: &str = "*";

/// What a batch says of one group.
#[derive(Debug)]
pub(in super::super) struct Part {
    pub(in super::super) group: GroupName,
    pub(in super::super) live: bool,
    /// Who, and with how many connections.
    pub(in super::super) people: Vec<(Option<UserId>, u64)>,
}

impl Commands {
    fn roll(&self, name: &str) -> Vec<u8> {
        self.key("wr:", name)
    }

    fn list_of_rolls(&self) -> Vec<u8> {
        self.key("rolls", "")
    }

    /// What keeps a roll for a while after its node has given its lease up.
    fn left_behind(&self, node: &str) -> Vec<u8> {
        self.key("wx:", node)
    }

    /// Users and counts of a group.
    fn census(&self, group: &GroupName) -> [Vec<u8>; 2] {
        [self.key("wu:", group.as_str()), self.key("wc:", group.as_str())]
    }

    /// The same, and who is in it by a roll.
    fn share(&self, group: &GroupName, roll: &str) -> [Vec<u8>; 3] {
        let [users, counts] = self.census(group);
        [users, counts, [&self.key("ws:", roll)[..], b":", group.as_str().as_bytes()].concat()]
    }

    /// Says who is in groups by this roll.
    pub(in super::super) fn attend(&self, roll: &str, number: u64, fresh_epoch: u32, parts: &[Part]) -> Command {
        let mut keys = vec![self.roll(roll), self.list_of_rolls()];
        let mut args = vec![roll.into(), number.to_string().into_bytes(), fresh_epoch.to_string().into_bytes()];
        for Part { group, live, people } in parts {
            keys.extend(self.share(group, roll));
            args.extend([group.as_str().into(), self.channel(group), u8::from(*live).to_string().into(), people.len().to_string().into()]);
            for (who, connections) in people {
                args.extend([who.as_ref().map_or(ANONYMOUS, UserId::as_str).into(), connections.to_string().into()]);
            }
        }
        script(&ATTEND, &keys, &args)
    }

    /// The names of all rolls, at most so many.
    pub(in super::super) fn rolls(&self, limit: usize) -> Command {
        Command::plain(&[b"ZRANGE", &self.list_of_rolls(), b"0", limit.saturating_sub(1).to_string().as_bytes()])
    }

    /// How many batches of a roll have been taken; nil if it is nobody's.
    pub(in super::super) fn taken(&self, roll: &str) -> Command {
        Command::plain(&[b"HGET", &self.roll(roll), b"#"])
    }

    /// Groups of a roll, at most so many.
    pub(in super::super) fn groups_of_roll(&self, roll: &str, limit: usize) -> Command {
        Command::plain(&[b"HRANDFIELD", &self.roll(roll), limit.to_string().as_bytes()])
    }

    /// Takes a roll from its node: at once if that is `own`, else only if the node is gone.
    pub(in super::super) fn condemn(&self, roll: &str, node: &str, own: bool) -> Command {
        let keys = [self.lease_key(node), self.left_behind(node), self.roll(roll)];
        script(&CONDEMN, &keys, &[u8::from(own).to_string().into_bytes()])
    }

    /// Takes so many people at most out of each of these groups who are there by this roll.
    pub(in super::super) fn sweep(&self, roll: &str, groups: &[GroupName], people: usize, fresh_epoch: u32) -> Command {
        let mut keys = vec![self.roll(roll), self.list_of_rolls()];
        let mut args = vec![roll.into(), people.to_string().into_bytes(), fresh_epoch.to_string().into_bytes()];
        for group in groups {
            keys.extend(self.share(group, roll));
            args.extend([group.as_str().into(), self.channel(group)]);
        }
        script(&SWEEP, &keys, &args)
    }

    /// Who is in a group.
    pub(in super::super) fn roster(&self, group: &GroupName, after: Option<&UserId>, limit: usize) -> Command {
        let after = after.map_or("", UserId::as_str);
        script(&ROSTER, &self.census(group), &[after.into(), limit.to_string().into()])
    }

    /// Keeps the node's roll for so long after it has given its lease up: its people come back elsewhere meanwhile, and nobody shall see them leave.
    pub(in super::super) fn leave_behind(&self, node: &str, time: Duration) -> Command {
        Command::plain(&[b"SET", &self.left_behind(node), b"1", b"PX", ms(time).to_string().as_bytes()])
    }
}

fn script(script: &'static Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Command {
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    Command::script(script, &keys, &args)
}
