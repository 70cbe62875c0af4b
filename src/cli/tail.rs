//! `fanfare tail`: the events of groups, line by line, over either transport; comes back after a loss and resumes.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use super::{Failure, env};
use crate::{
    client::{Client, Error, Transport, discover},
    protocol::{ClientFrame, Dialect, Event, Gap, Hello, Kind, Position, PresenceChange, Recovery, ServerFrame, Subscribe, to_json_value},
};

/// Prints events.
#[derive(Debug, clap::Args)]
pub struct Tail {
    /// The groups to follow
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// How to connect
    #[arg(long, value_enum, default_value = "webtransport")]
    transport: Transport,
    /// The server's HTTP address [environment: FANFARE_URL] [default: http://127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
    /// Who to be [environment: FANFARE_TOKEN]
    #[arg(long)]
    token: Option<String>,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    count: Option<usize>,
}

/// A group that is followed.
#[derive(Debug, Clone)]
struct Followed {
    name: String,
    position: Option<Position>,
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

impl Tail {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let base = self.url.clone().or_else(|| env("FANFARE_URL")).unwrap_or_else(|| "http://127.0.0.1:8080".into());
        let mut groups: Vec<Followed> = self.groups.iter().map(|name| Followed { name: name.clone(), position: None }).collect();
        let mut left = self.count.unwrap_or(usize::MAX);
        let mut pause = FIRST_PAUSE;
        let mut connected_before = false;
        loop {
            match self.follow(&base, &mut groups, &mut left, &mut pause).await {
                Ok(()) => return Ok(()),
                Err(Error::Refused { code, sentence }) => {
                    return Err(Failure::running(format!("the server refused the session: {code} {sentence}")));
                }
                Err(error) if !connected_before && pause == FIRST_PAUSE => return Err(Failure::unreachable(error)),
                Err(error) => {
                    connected_before = true;
                    eprintln!("{error}; trying again in {pause:?}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Follows until all that was wanted has come, or the connection is lost.
    async fn follow(&self, base: &str, groups: &mut [Followed], left: &mut usize, pause: &mut Duration) -> Result<(), Error> {
        let target = discover(base).await?.target(self.transport, Dialect::Msgpack)?;
        let token = self.token.clone().or_else(|| env("FANFARE_TOKEN"));
        let name = concat!("fanfare-tail/", env!("CARGO_PKG_VERSION")).to_owned();
        let hello = Hello { version: 1, token, client: Some(name), transport: Some("forced".into()) };
        let (mut client, _) = Client::open(&target, hello).await?;
        eprintln!("connected to {}", target.url);
        // Connected once: from now on a loss is worth coming back for.
        *pause = FIRST_PAUSE * 2;
        for (request, followed) in (1..).zip(groups.iter()) {
            client.send(&ClientFrame::Subscribe(Subscribe { request, group: followed.name.clone(), since: followed.position })).await?;
        }
        let mut numbers: HashMap<u32, usize> = HashMap::new();
        while *left > 0 {
            match client.recv().await? {
                ServerFrame::Subscribed { number, group, position, recovery, missed, .. } => {
                    let Some(at) = groups.iter().position(|followed| followed.name == group) else { continue };
                    numbers.insert(number, at);
                    if recovery == Recovery::NotAsked {
                        groups[at].position = Some(position);
                    }
                    eprintln!("following {group}{}", if missed > 0 { format!(", {missed} missed events follow") } else { String::new() });
                }
                ServerFrame::Event { number, event } => {
                    let Some(&at) = numbers.get(&number) else { continue };
                    groups[at].position =
                        groups[at].position.map(|position| Position { offset: event.offset.max(position.offset), ..position });
                    self.print(&groups[at].name, &event);
                    *left -= 1;
                }
                ServerFrame::Gap { number, gap } => {
                    let Some(&at) = numbers.get(&number) else { continue };
                    groups[at].position = Some(Position { epoch: gap.epoch, offset: gap.to });
                    eprintln!("{}", describe_gap(&groups[at].name, &gap));
                }
                ServerFrame::Presence { number, change } => {
                    let Some(&at) = numbers.get(&number) else { continue };
                    eprintln!("{}", describe_presence(&groups[at].name, &change));
                }
                ServerFrame::Interrupted { number } => {
                    let Some(&at) = numbers.get(&number) else { continue };
                    eprintln!("in {}: events may not come for the time being", groups[at].name);
                }
                ServerFrame::Resumed { number } => {
                    let Some(&at) = numbers.get(&number) else { continue };
                    eprintln!("in {}: events come again", groups[at].name);
                }
                ServerFrame::Error { sentence, code, .. } => return Err(Error::Refused { code, sentence }),
                ServerFrame::Goodbye { code, sentence, reconnect: false, .. } => return Err(Error::Refused { code, sentence }),
                ServerFrame::Goodbye { code, sentence, .. } => return Err(Error::Closed { code: Some(code), reason: sentence }),
                _ => {}
            }
        }
        client.close().await;
        Ok(())
    }

    fn print(&self, group: &str, event: &Event) {
        if self.json {
            println!("{}", as_json(group, event));
        } else {
            println!("{}", as_line(group, event));
        }
    }
}

fn describe_presence(group: &str, PresenceChange { census, joined, left }: &PresenceChange) -> String {
    if census.version == 0 {
        return format!("in {group}: who comes and goes may have been missed");
    }
    let comes = joined.iter().map(|user| format!(" +{user}"));
    let who: String = comes.chain(left.iter().map(|user| format!(" -{user}"))).collect();
    format!("in {group}:{who} (users {}, anonymous {}, connections {})", census.users, census.anonymous, census.connections)
}

fn describe_gap(group: &str, gap: &Gap) -> String {
    let extent = match (gap.from, gap.to) {
        (0, 0) => "an unknown number of events".to_owned(),
        (from, to) => format!("offsets {from} to {to}"),
    };
    format!("gap in {group}: {extent} lost ({})", gap.reason.name())
}

fn as_json(group: &str, event: &Event) -> Value {
    json!({
        "id": event.id.to_string(),
        "timestamp": timestamp(event),
        "group": group,
        "offset": event.offset,
        "kind": event.kind.name(),
        "body": to_json_value(&event.body),
        "data": event.data.as_ref().map(|data| to_json_value(data)),
        "sender": event.sender.as_ref().map(|sender| sender.as_str()),
    })
}

/// `12:34:56.789 [group] title: text`, as pages show it.
fn as_line(group: &str, event: &Event) -> String {
    let time = timestamp(event);
    let clock = time.get(11..23).unwrap_or(&time);
    let body = to_json_value(&event.body);
    let part = |at: usize| body.get(at).and_then(Value::as_str).unwrap_or_default();
    let text = match event.kind {
        Kind::Message => body.as_str().unwrap_or_default().to_owned(),
        Kind::Notification if part(1).is_empty() => format!("({}) {}", part(0), part(2)),
        Kind::Notification => format!("({}) {}: {}", part(0), part(1), part(2)),
        Kind::File => format!("{}: {} {}", part(2), part(1), part(0)),
        Kind::TaskUpdate | Kind::TaskComplete | Kind::TaskError | Kind::Own(_) => format!("{} {body}", event.kind.name()),
    };
    format!("{clock} [{group}] {text}")
}

fn timestamp(event: &Event) -> String {
    let ms = i128::from(event.id.timestamp_ms());
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (time.date(), time.time());
    format!("{date}T{:02}:{:02}:{:02}.{:03}Z", clock.hour(), clock.minute(), clock.second(), clock.millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Census, Content, EventId, FileSpec, GapReason, Level, UserId};

    fn line(content: Content) -> String {
        as_line("sales_team", &content.placed(EventId::from_number(1_764_042_123_456 << 22), 1, None))
    }

    #[test]
    fn events_read_as_pages_show_them() {
        assert_eq!(line(Content::message("hi", None).unwrap()), "03:42:03.456 [sales_team] hi");
        let notification = |title| Content::notification(Level::Success, title, "done", None).unwrap();
        assert_eq!(line(notification("Great job!")), "03:42:03.456 [sales_team] (success) Great job!: done");
        assert_eq!(line(notification("")), "03:42:03.456 [sales_team] (success) done");
        let file = FileSpec { url: "/a/q4.pdf", ..FileSpec::default() };
        assert_eq!(line(Content::file(&file, None).unwrap()), "03:42:03.456 [sales_team] File ready for download: q4.pdf /a/q4.pdf");
    }

    #[test]
    fn gaps_say_what_is_known() {
        let gap = Gap { epoch: 1, from: 3, to: 5, count: Some(3), reason: GapReason::Expired };
        assert_eq!(describe_gap("a", &gap), "gap in a: offsets 3 to 5 lost (expired)");
        assert_eq!(describe_gap("a", &Gap { from: 0, to: 0, ..gap }), "gap in a: an unknown number of events lost (expired)");
    }

    #[test]
    fn who_comes_and_goes_is_told_with_the_numbers_after_it() {
        let user = |name| UserId::parse(name).unwrap();
        let census = Census { epoch: 1, version: 3, users: 2, anonymous: 1, connections: 5 };
        let change = PresenceChange { census, joined: vec![user("ann"), user("bob")], left: vec![user("zoe")] };
        assert_eq!(describe_presence("a", &change), "in a: +ann +bob -zoe (users 2, anonymous 1, connections 5)");
        assert_eq!(describe_presence("a", &PresenceChange::lost()), "in a: who comes and goes may have been missed");
    }
}
