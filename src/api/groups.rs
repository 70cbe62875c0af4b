//! Looking at groups: which there are on this node, what is known of one, its past, and who is there.
//!
//! Reads only. Its invariant: no answer is longer than one page, counted in items and in bytes.

#![expect(unused_qualifications, reason = "the code that utoipa makes of `params(…)` has them")]

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::Uri,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    drafts::PastEvent,
    problem::{Common, Problem, Reason},
    publish::group as parse_group,
};
use crate::{
    broker::History,
    policy::{Presence, SlowConsumer, Who},
    protocol::{Attendee, GroupName, Position, Roster, UserId},
};

/// Items in a page unless the caller asks for another number.
const PAGE: usize = 100;

/// Most items in a page.
const PAGE_LIMIT: usize = 1000;

/// A page of history ends after so many bytes of bodies and data, so that an answer can't take a thousand times the largest event.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A group that has members on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: GroupName,
    /// How many sessions on this node follow it.
    pub members: usize,
}

/// What this node knows of the groups that are followed on it.
pub trait Directory: Send + Sync + 'static {
    /// Groups with members, sorted by name: those whose name begins with `prefix`, from the first after `after`, at most `limit` of them.
    fn groups(&self, prefix: Option<&str>, after: Option<&str>, limit: usize) -> Vec<GroupInfo>;

    /// How many sessions on this node follow the group.
    fn members(&self, group: &GroupName) -> usize;
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only groups whose name begins so.
    prefix: Option<String>,
    /// Only groups whose name sorts after this one: `next` of the page before.
    after: Option<String>,
    /// How many at most, 1 to 1,000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// The offset after which to begin: `next` of the page before. The newest events if absent.
    after: Option<u64>,
    /// How many at most, 1 to 1,000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PresenceQuery {
    /// Only users whose id sorts after this one: `next` of the page before.
    after: Option<String>,
    /// How many users at most, 1 to 1,000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// One page of the groups that have members on this node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupList {
    groups: Vec<GroupSummary>,
    /// Give this as `after` to get the next page; null if this is the last.
    next: Option<String>,
}

/// A group and its members.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupSummary {
    /// Its name.
    name: String,
    /// How many sessions on this node follow it.
    members: usize,
}

/// What is known of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Group {
    /// Its name.
    name: String,
    /// How many sessions on this node follow it.
    members: usize,
    /// The newest position; null if the group keeps no history or has had no event yet.
    position: Option<Place>,
    /// What is allowed and kept in it.
    policy: PolicyView,
}

/// A position in a group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Position)]
pub(super) struct Place {
    /// The life of the group's counter; positions of different epochs can't be compared.
    epoch: u32,
    /// The place within the epoch.
    offset: u64,
}

/// What is allowed and kept in a group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Policy)]
pub(super) struct PolicyView {
    /// The pattern that the group's name matched.
    pattern: String,
    /// Who may follow.
    #[schema(value_type = String, example = "authenticated")]
    subscribe: Who,
    /// Who of the clients may publish.
    #[schema(value_type = String, example = "server")]
    publish: Who,
    /// What happens to a connection that can't keep up.
    #[schema(value_type = String, example = "disconnect")]
    slow: SlowConsumer,
    /// What is known of who is there: `off`, `list` (it may be asked for), or `live` (members are told who comes and goes).
    #[schema(value_type = String, example = "live")]
    presence: Presence,
    /// What is kept; null for nothing.
    history: Option<Kept>,
}

/// How much of a group's past is kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Retention)]
pub(super) struct Kept {
    /// Events at most.
    size: usize,
    /// How long an event is kept, in seconds.
    ttl_seconds: u64,
}

/// One page of a group's past.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryPage {
    /// The group's epoch; 0 if it keeps no history.
    epoch: u32,
    /// The offset of the newest event.
    top: u64,
    /// The offset before the oldest event that is still kept. If it is greater than the `after` that was asked for, events between are gone.
    start: u64,
    /// Oldest first.
    events: Vec<PastEvent>,
    /// Give this as `after` to get the next page; null if there is nothing newer.
    next: Option<u64>,
}

/// Who is in a group, on all nodes: exact numbers, and one page of the list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Presence)]
pub(super) struct PresencePage {
    /// Users in the group, each once however many connections they have.
    users: u64,
    /// Connections without a user.
    anonymous: u64,
    /// All connections.
    connections: u64,
    /// The life of these counts; 0 when nobody is there.
    epoch: u32,
    /// How often who is there has changed in this life.
    version: u64,
    /// In order of their ids.
    list: Vec<Present>,
    /// Give this as `after` to get the next page; null if there is none.
    next: Option<String>,
}

/// A user who is in the group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Present {
    /// The user's id.
    user: String,
    /// With how many connections.
    connections: u64,
}

impl From<Roster> for PresencePage {
    fn from(Roster { census, users, next }: Roster) -> Self {
        let present = |Attendee { user, connections }: Attendee| Present { user: user.to_string(), connections };
        Self {
            users: census.users,
            anonymous: census.anonymous,
            connections: census.connections,
            epoch: census.epoch,
            version: census.version,
            list: users.into_iter().map(present).collect(),
            next: next.map(|user| user.to_string()),
        }
    }
}

/// List the groups that have members on this node
#[utoipa::path(
    get, path = "/v1/groups", tag = "groups", params(ListQuery),
    responses((status = 200, description = "One page, sorted by name", body = GroupList), Common),
)]
pub(super) async fn list(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<GroupList>, Problem> {
    let query: ListQuery = parameters(&uri)?;
    let limit = page(query.limit)?;
    let mut found = api.directory.groups(query.prefix.as_deref(), query.after.as_deref(), limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|group| group.name.to_string());
    let groups = found.into_iter().map(|group| GroupSummary { name: group.name.to_string(), members: group.members }).collect();
    Ok(Json(GroupList { groups, next }))
}

/// What is known of one group
#[utoipa::path(
    get, path = "/v1/groups/{group}", tag = "groups",
    params(("group" = String, Path, description = "The group's name", pattern = "^([A-Za-z0-9_.-]{1,99}|user\\.[A-Za-z0-9_.@+-]{1,150})$")),
    responses((status = 200, description = "Also for a group that nobody has named before: groups need no creation", body = Group), Common),
)]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<Group>, Problem> {
    let group = parse_group(&name)?;
    let policies = api.policies.load();
    let policy = policies.of(&group);
    let position = match policy.history {
        Some(_) => api.broker.history(&group, 0, 0, 0).await?.top,
        None => Position::NONE,
    };
    Ok(Json(Group {
        members: api.directory.members(&group),
        position: position.is_kept().then_some(Place { epoch: position.epoch, offset: position.offset }),
        policy: PolicyView {
            pattern: policy.pattern.as_str().to_owned(),
            subscribe: policy.subscribe,
            publish: policy.publish,
            slow: policy.slow,
            presence: policy.presence,
            history: policy.history.map(|kept| Kept { size: kept.size, ttl_seconds: kept.ttl.as_secs() }),
        },
        name,
    }))
}

/// The past of a group, as far as it is kept
#[utoipa::path(
    get, path = "/v1/groups/{group}/history", tag = "groups",
    params(("group" = String, Path, description = "The group's name", pattern = "^([A-Za-z0-9_.-]{1,99}|user\\.[A-Za-z0-9_.@+-]{1,150})$"), HistoryQuery),
    responses((status = 200, description = "One page, oldest event first", body = HistoryPage), Common),
)]
pub(super) async fn history(State(api): State<Arc<Api>>, Path(name): Path<String>, uri: Uri) -> Result<Json<HistoryPage>, Problem> {
    let group = parse_group(&name)?;
    let query: HistoryQuery = parameters(&uri)?;
    let limit = page(query.limit)?;
    let History { events, start, top } = match query.after {
        None => api.broker.history(&group, 0, u64::MAX, limit).await?,
        Some(after) => {
            // The broker gives the newest of a range; the next page is the oldest, so the range has to be no longer than the page.
            let start = api.broker.history(&group, 0, 0, 0).await?.start;
            let from = after.max(start);
            api.broker.history(&group, from, from.saturating_add(limit as u64), limit).await?
        }
    };
    let mut room = PAGE_BYTES;
    let fits = events.iter().take_while(|event| {
        let len = event.body.len() + event.data.as_ref().map_or(0, bytes::Bytes::len);
        room.checked_sub(len).inspect(|left| room = *left).is_some()
    });
    let events: Vec<PastEvent> = fits.map(PastEvent::from).collect();
    let last = events.last().map(PastEvent::offset);
    Ok(Json(HistoryPage { epoch: top.epoch, top: top.offset, start, events, next: last.filter(|last| *last < top.offset) }))
}

/// Who is in a group, on all nodes
///
/// A connection that has ended is counted for the grace time longer, unless its user has come back meanwhile; the people of a node that is gone, until its lease
/// has ended.
#[utoipa::path(
    get, path = "/v1/groups/{group}/presence", tag = "groups",
    params(("group" = String, Path, description = "The group's name", pattern = "^([A-Za-z0-9_.-]{1,99}|user\\.[A-Za-z0-9_.@+-]{1,150})$"), PresenceQuery),
    responses((status = 200, description = "Exact numbers, and one page of the list", body = PresencePage), Common),
)]
pub(super) async fn presence(State(api): State<Arc<Api>>, Path(name): Path<String>, uri: Uri) -> Result<Json<PresencePage>, Problem> {
    let group = parse_group(&name)?;
    let query: PresenceQuery = parameters(&uri)?;
    let limit = page(query.limit)?;
    let after = query.after.as_deref().map(UserId::parse).transpose();
    let after = after.map_err(|error| Problem::new(Reason::BadParameter, format!("after: {error}")))?;
    let policies = api.policies.load();
    let policy = policies.of(&group);
    if policy.presence == Presence::Off {
        let pattern = policy.pattern.as_str();
        let detail = format!(
            "the policy of this group (match = {pattern:?}) has presence = \"off\", so nobody is counted; set it to \"list\" or \"live\""
        );
        return Err(Problem::new(Reason::NoPresence, detail));
    }
    Ok(Json(api.broker.roster(&group, after.as_ref(), limit).await?.into()))
}

fn page(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=PAGE_LIMIT => Ok(limit),
        limit => Err(Problem::new(Reason::BadParameter, format!("limit: is {limit}; allowed are 1 to {PAGE_LIMIT}"))),
    }
}

fn parameters<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let query = Query::try_from_uri(uri).map_err(|error| Problem::new(Reason::BadParameter, error.body_text()))?;
    Ok(query.0)
}
