//! Words for who is there, for tests of one node and of several.

use std::time::Duration;

use fanfare::protocol::{Census, ClientFrame, PresenceChange, Roster, RosterRequest, ServerFrame, Subscribe, UserId};

use crate::common::TestClient;

impl TestClient {
    /// Joins, whatever else comes meanwhile.
    pub async fn join(&mut self, group: &str) {
        self.request += 1;
        let subscribe = Subscribe { request: self.request, group: group.into(), since: None };
        self.send(ClientFrame::Subscribe(subscribe)).await;
        while !matches!(self.next().await, ServerFrame::Subscribed { request, .. } if request == self.request) {}
    }

    /// Asks who is there, after whom and at most how many; skips what else comes.
    pub async fn who(&mut self, group: &str, after: Option<&str>, limit: Option<u64>) -> Result<Roster, u64> {
        self.request += 1;
        let ask = RosterRequest { request: self.request, group: group.into(), after: after.map(str::to_owned), limit };
        self.send(ClientFrame::Who(ask)).await;
        loop {
            match self.next().await {
                ServerFrame::Present { request, group: of, roster } if request == self.request => {
                    assert_eq!(of, group);
                    return Ok(roster);
                }
                ServerFrame::Error { request, code, .. } if request == self.request => return Err(code),
                _ => {}
            }
        }
    }

    /// Asks until there are so many users, anonymous connections and connections.
    pub async fn counts(&mut self, group: &str, users: u64, anonymous: u64, connections: u64) -> Roster {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let roster = self.who(group, None, None).await.unwrap();
            let Census { users: a, anonymous: b, connections: c, .. } = roster.census;
            if (a, b, c) == (users, anonymous, connections) {
                return roster;
            }
            assert!(tokio::time::Instant::now() < deadline, "never: {:?}", roster.census);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The next change of who is there.
    pub async fn change(&mut self) -> PresenceChange {
        loop {
            if let ServerFrame::Presence { change, .. } = self.next().await {
                return change;
            }
        }
    }

    /// The same as text: `+ann,bob -cy 3/0`, with the numbers of users and of anonymous connections.
    pub async fn told(&mut self) -> String {
        shown(&self.change().await)
    }
}

pub fn shown(change: &PresenceChange) -> String {
    let names = |users: &[UserId]| {
        let mut names: Vec<_> = users.iter().map(UserId::as_str).collect();
        names.sort_unstable();
        names.join(",")
    };
    format!("+{} -{} {}/{}", names(&change.joined), names(&change.left), change.census.users, change.census.anonymous)
}

pub fn listed(roster: &Roster) -> Vec<(&str, u64)> {
    roster.users.iter().map(|attendee| (attendee.user.as_str(), attendee.connections)).collect()
}
