//! What the application wants done with the sessions of a user, on every node.
//!
//! Checks names and bounds, and leaves the rest to the broker. Its invariant: every request may be repeated, and does no more than it did.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::header,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{
    Api,
    body::{self, Format},
    problem::{Common, Problem, Publishing, Reason},
};
use crate::{
    broker::{self, Demand},
    protocol::{Code, GroupName, UserId, limits},
};

/// Groups in one request: as many as may stand.
const GROUPS: usize = limits::STANDING_GROUPS;

/// The longest time that a client may be told to stay away.
const DELAY: Duration = Duration::from_secs(3600);

/// The codes that an application may end a session with: each tells the client something else to do.
const CODES: [Code; 4] = [Code::GoingAway, Code::TokenInvalid, Code::TokenExpired, Code::Disconnected];

/// Groups for the sessions of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Membership {
    /// Their names, 1 to 100. Not personal groups: these belong to their users.
    #[schema(example = json!(["sales_team"]), min_items = 1, max_items = 100)]
    groups: Vec<String>,
    /// Whether later sessions of the user follow them too, until that is undone. False if absent.
    #[serde(default)]
    standing: bool,
}

/// How the sessions of a user end.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Disconnect {
    /// What the client is told to do (`docs/protocol.md` section 9): 4206, not to come back by itself, if absent; 4000, to come back; 4101 or 4102, to
    /// come back with a new token.
    #[schema(example = 4206, minimum = 4000, maximum = 4206)]
    code: Option<u16>,
    /// A sentence for people, at most 123 bytes; that of the code if absent.
    #[schema(max_length = 123)]
    reason: Option<String>,
    /// A client that may come back does so after so many ms, at most an hour; at once if absent.
    #[schema(maximum = 3_600_000)]
    delay_ms: Option<u64>,
}

/// Whom a request has reached within a second.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reached {
    /// Sessions of the user that have been told.
    sessions: usize,
    /// Nodes that have confirmed it, also if they have no session of the user.
    nodes: usize,
    /// Nodes that live and have not confirmed it. They do it when their link is back, unless that takes more than ten minutes; see `docs/operations.md`.
    pending_nodes: usize,
}

/// What stands for a user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Standing {
    /// The user.
    user: String,
    /// The groups that every session of the user follows from its beginning, by name.
    standing: Vec<String>,
}

impl From<broker::Reached> for Reached {
    fn from(broker::Reached { sessions, nodes, pending }: broker::Reached) -> Self {
        Self { sessions, nodes, pending_nodes: pending }
    }
}

/// Let the sessions of a user follow groups
///
/// All open sessions of the user, on all nodes, follow them from now on; with `standing` those that are opened later do so too. Policies are not asked.
#[utoipa::path(
    post, path = "/v1/users/{user}/groups", tag = "users",
    params(("user" = String, Path, description = "Whose sessions", pattern = "^[A-Za-z0-9_.@+-]{1,150}$")),
    request_body(content((Membership = "application/json"), (Membership = "application/msgpack"))),
    responses((status = 200, description = "Done, as far as nodes could be reached", body = Reached), Publishing),
)]
pub(super) async fn grant(State(api): State<Arc<Api>>, Path(user): Path<String>, request: Request) -> Result<Json<Reached>, Problem> {
    let user = user_id(&user)?;
    let Membership { groups, standing } = read(request).await?;
    if !(1..=GROUPS).contains(&groups.len()) {
        return Err(field(format!("groups: there are {}; 1 to {GROUPS} are allowed", groups.len())));
    }
    let groups = groups.iter().map(|name| shared_group(name)).collect::<Result<_, _>>()?;
    direct(&api, &user, Demand::Grant { groups, standing }).await
}

/// The groups that stand for a user
#[utoipa::path(
    get, path = "/v1/users/{user}/groups", tag = "users",
    params(("user" = String, Path, description = "Who", pattern = "^[A-Za-z0-9_.@+-]{1,150}$")),
    responses((status = 200, description = "Also for a user that nobody has named before", body = Standing), Common),
)]
pub(super) async fn standing(State(api): State<Arc<Api>>, Path(user): Path<String>) -> Result<Json<Standing>, Problem> {
    let user = user_id(&user)?;
    let groups = api.users.standing(&user).await?.groups;
    Ok(Json(Standing { user: user.to_string(), standing: groups.iter().map(ToString::to_string).collect() }))
}

/// End all that was granted to a user
///
/// The sessions of the user, on all nodes, follow no longer what their token, a request here, or what stands let them follow; nothing stands any more.
#[utoipa::path(
    delete, path = "/v1/users/{user}/groups", tag = "users",
    params(("user" = String, Path, description = "Whose sessions", pattern = "^[A-Za-z0-9_.@+-]{1,150}$")),
    responses((status = 200, description = "Done, as far as nodes could be reached", body = Reached), Common),
)]
pub(super) async fn revoke_all(State(api): State<Arc<Api>>, Path(user): Path<String>) -> Result<Json<Reached>, Problem> {
    direct(&api, &user_id(&user)?, Demand::RevokeAll).await
}

/// Let the sessions of a user follow a group no longer
///
/// Also if they had asked for it themselves, and it stands no longer. A client may ask again, if the group's policy lets it.
#[utoipa::path(
    delete, path = "/v1/users/{user}/groups/{group}", tag = "users",
    params(
        ("user" = String, Path, description = "Whose sessions", pattern = "^[A-Za-z0-9_.@+-]{1,150}$"),
        ("group" = String, Path, description = "The group's name", pattern = "^[A-Za-z0-9_.-]{1,99}$"),
    ),
    responses((status = 200, description = "Done, as far as nodes could be reached", body = Reached), Common),
)]
pub(super) async fn revoke(State(api): State<Arc<Api>>, Path((user, group)): Path<(String, String)>) -> Result<Json<Reached>, Problem> {
    let groups = vec![shared_group(&group)?];
    direct(&api, &user_id(&user)?, Demand::Revoke { groups }).await
}

/// End the sessions of a user
///
/// Every connection of the user, on all nodes, gets what was sent before, a goodbye with this code and reason, and is closed. It can be opened again
/// where the token is still good: to keep a user out, refuse the token.
#[utoipa::path(
    post, path = "/v1/users/{user}/disconnect", tag = "users",
    params(("user" = String, Path, description = "Whose sessions", pattern = "^[A-Za-z0-9_.@+-]{1,150}$")),
    request_body(description = "May be left out", content((Option<Disconnect> = "application/json"), (Option<Disconnect> = "application/msgpack"))),
    responses((status = 200, description = "Done, as far as nodes could be reached", body = Reached), Publishing),
)]
pub(super) async fn disconnect(State(api): State<Arc<Api>>, Path(user): Path<String>, request: Request) -> Result<Json<Reached>, Problem> {
    let user = user_id(&user)?;
    let wish = if request.headers().contains_key(header::CONTENT_TYPE) { read(request).await? } else { Disconnect::default() };
    direct(&api, &user, Demand::Disconnect(checked(wish)?)).await
}

fn checked(Disconnect { code, reason, delay_ms }: Disconnect) -> Result<broker::Disconnect, Problem> {
    let number = code.unwrap_or(Code::Disconnected.number());
    let code = CODES.into_iter().find(|code| code.number() == number).ok_or_else(|| {
        let known: Vec<_> = CODES.iter().map(ToString::to_string).collect();
        field(format!("code: is {number}; it has to be one of {}", known.join(", ")))
    })?;
    if let Some(reason) = &reason
        && (!(1..=limits::REASON_BYTES).contains(&reason.len()) || reason.chars().any(char::is_control))
    {
        let rule = format!("1 to {} bytes of text without control characters are allowed", limits::REASON_BYTES);
        return Err(field(format!("reason: has {} bytes; {rule}", reason.len())));
    }
    let delay = Duration::from_millis(delay_ms.unwrap_or_default());
    if delay > DELAY {
        return Err(field(format!("delay_ms: is {}; at most {} are allowed", delay.as_millis(), DELAY.as_millis())));
    }
    if !delay.is_zero() && !code.may_reconnect() {
        return Err(field(format!("delay_ms: a client that gets {code} does not come back; leave it out")));
    }
    Ok(broker::Disconnect { code, reason, delay })
}

async fn direct(api: &Api, user: &UserId, demand: Demand) -> Result<Json<Reached>, Problem> {
    match api.users.direct(user, demand).await {
        Ok(reached) => Ok(Json(reached.into())),
        Err(error @ broker::Error::Unconfirmed { .. }) => {
            let detail = "the broker did not confirm it: it may have been done or not; repeating it is harmless".to_owned();
            Err(Problem { detail, ..error.into() })
        }
        Err(error) => Err(error.into()),
    }
}

fn user_id(id: &str) -> Result<UserId, Problem> {
    UserId::parse(id).map_err(|error| Problem::name(Reason::BadUserId, "user", &error))
}

/// A group that belongs to nobody.
fn shared_group(name: &str) -> Result<GroupName, Problem> {
    let group = super::publish::group(name)?;
    match group.owner() {
        None => Ok(group),
        Some(_) => {
            Err(Problem::new(Reason::BadGroupName, format!("group: {name:?} is a personal group, which its user follows and nobody else")))
        }
    }
}

async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let format = match Format::of(request.headers())? {
        Format::Lines => return Err(Problem::new(Reason::UnsupportedMediaType, "application/x-ndjson is for POST /v1/batch only")),
        format @ (Format::Json | Format::Msgpack) => format,
    };
    let body = body::read(request, body::EVENT_BYTES).await?;
    body::parse(format, &body).map_err(|problem| match problem.reason {
        Reason::BadEvent => field(problem.detail),
        _ => problem,
    })
}

fn field(detail: String) -> Problem {
    Problem::new(Reason::BadField, detail)
}
