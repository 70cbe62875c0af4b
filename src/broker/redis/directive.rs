//! A directive as it is kept in Redis and sent between nodes: the body of an event in a group of its own.
//!
//! So it has all that events have: one order, a bounded past for a node whose link was down, and a gap where that is not enough.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message;
use crate::{
    broker::{Demand, Directive, Disconnect},
    protocol::{Code, Content, Event, EventId, GroupName, Position, RawKind, UserId, from_json, to_json_value},
};

/// The kind of these events, which no client ever sees.
const KIND: &str = "directive";

/// How a directive is written. What a node of another version does not tell is empty here.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    user: String,
    /// The node that wants to know whom it reached.
    from: String,
    what: String,
    groups: Vec<String>,
    standing: bool,
    code: u16,
    reason: Option<String>,
    delay_ms: u64,
}

/// The event that carries a demand, without its place.
pub(super) fn encode(id: EventId, from: &str, user: &UserId, demand: &Demand) -> Bytes {
    let written = Written { user: user.to_string(), from: from.to_owned(), ..write(demand) };
    let body = from_json(&serde_json::to_value(written).unwrap_or_default());
    let content = Content::parse(&RawKind::Name(KIND.to_owned()), Some(body.into()), None);
    content.map_or_else(|_| Bytes::new(), |content| message::encode(content.placed(id, 0, None)))
}

fn write(demand: &Demand) -> Written {
    let names = |groups: &[GroupName]| groups.iter().map(ToString::to_string).collect();
    let what = |what: &str| Written { what: what.to_owned(), ..Written::default() };
    match demand {
        Demand::Grant { groups, standing } => Written { groups: names(groups), standing: *standing, ..what("grant") },
        Demand::Revoke { groups } => Written { groups: names(groups), ..what("revoke") },
        Demand::RevokeAll => what("revoke_all"),
        Demand::Disconnect(Disconnect { code, reason, delay }) => {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            Written { code: code.number(), reason: reason.clone(), delay_ms, ..what("disconnect") }
        }
    }
}

/// The directive that an event carries, and the node that it is from. `None`: it is none, or one of a later version.
pub(super) fn decode(epoch: u32, event: &Event) -> Option<(Directive, String)> {
    if event.kind.name() != KIND {
        return None;
    }
    let written: Written = serde_json::from_value(to_json_value(&event.body)).ok()?;
    let user = UserId::parse(&written.user).ok()?;
    let from = written.from.clone();
    let position = Position { epoch, offset: event.offset };
    Some((Directive { user, demand: read(written)?, position }, from))
}

fn read(written: Written) -> Option<Demand> {
    let groups = || written.groups.iter().map(|name| GroupName::parse(name).ok()).collect::<Option<Vec<_>>>();
    Some(match written.what.as_str() {
        "grant" => Demand::Grant { groups: groups()?, standing: written.standing },
        "revoke" => Demand::Revoke { groups: groups()? },
        "revoke_all" => Demand::RevokeAll,
        "disconnect" => Demand::Disconnect(Disconnect {
            code: Code::from_number(written.code.into())?,
            reason: written.reason,
            delay: Duration::from_millis(written.delay_ms),
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demand_comes_back_with_its_place_and_whom_it_is_from() {
        let groups = vec![GroupName::parse("a").unwrap(), GroupName::parse("b.c").unwrap()];
        let disconnect = Disconnect { code: Code::GoingAway, reason: Some("moved".into()), delay: Duration::from_millis(1500) };
        for demand in [
            Demand::Grant { groups: groups.clone(), standing: true },
            Demand::Grant { groups: groups.clone(), standing: false },
            Demand::Revoke { groups },
            Demand::RevokeAll,
            Demand::Disconnect(disconnect),
        ] {
            let user = UserId::parse("ann@x").unwrap();
            let bytes = encode(EventId::from_number(7), "node", &user, &demand);
            let placed = [&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1][..], &bytes].concat();
            let (epoch, event) = message::decode_event(placed.into()).unwrap();
            let directive = Directive { user, demand, position: Position { epoch: 9, offset: 5 } };
            assert_eq!(decode(epoch, &event), Some((directive, "node".to_owned())));
        }
    }

    #[test]
    fn what_this_version_does_not_know_is_no_directive() {
        let event = |kind: &str, body: serde_json::Value| {
            let content = Content::parse(&RawKind::Name(kind.to_owned()), Some(from_json(&body).into()), None);
            content.unwrap().placed(EventId::from_number(1), 1, None)
        };
        assert_eq!(decode(1, &event(KIND, serde_json::json!({"user": "ann", "what": "promote"}))), None);
        assert_eq!(decode(1, &event(KIND, serde_json::json!({"user": "a b", "what": "revoke_all"}))), None);
        assert_eq!(decode(1, &event(KIND, serde_json::json!(5))), None);
        assert_eq!(decode(1, &event("other", serde_json::json!({"user": "ann", "what": "revoke_all"}))), None);
    }
}
