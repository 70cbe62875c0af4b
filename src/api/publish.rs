//! Publishing: one event to one group or user, or a batch of them.
//!
//! The application may publish to every group, so nothing but names, sizes and forms is checked here. Its invariant: events of one request reach the
//! broker in the order in which they stand there, and none after one that the broker refused.

use std::{fmt, sync::Arc};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::HeaderMap,
};
use serde::{
    Deserialize, Serialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Api,
    body::{self, Format},
    drafts::{BatchEvent, Draft, File, Message, Notification, Own, Receipt},
    problem::{Document, Problem, Publishing, Reason},
};
use crate::{
    broker::Publication,
    protocol::{Content, GroupName, IdempotencyKey, UserId},
};

/// The most events in one batch: what fits a request of a few milliseconds.
const BATCH_EVENTS: usize = 1000;

/// So many events of a batch are published before the thread turns to its other connections.
const TURN: usize = 32;

const KEY_HEADER: &str = "idempotency-key";

/// The name of a source in metrics.
const SOURCE: &str = "api";

macro_rules! routes {
    ($($(#[doc = $doc:literal])* $handler:ident = $path:literal $draft:ident $parse:ident $part:literal $pattern:literal,)*) => {
        $(
            $(#[doc = $doc])*
            #[utoipa::path(
                post,
                path = $path,
                tag = "publish",
                params(
                    ($part = String, Path, description = "To whom; the rules for names are in `docs/protocol.md` section 4", pattern = $pattern),
                    ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,98}[!-~])?$", description = "1 to 100 printable ASCII characters: a second request to the same \
                        group with the same key within 5 minutes sends nothing and gets the first one's receipt"),
                ),
                request_body(content(($draft = "application/json"), ($draft = "application/msgpack"))),
                responses((status = 200, description = "The event is on its way", body = Receipt), Publishing),
            )]
            pub(super) async fn $handler(api: State<Arc<Api>>, Path(name): Path<String>, request: Request) -> Result<Json<Receipt>, Problem> {
                one::<$draft>(&api, $parse(&name)?, request).await
            }
        )*
    };
}

routes! {
    /// Send a message to a group
    group_message = "/v1/groups/{group}/messages" Message group "group" "^([A-Za-z0-9_.-]{1,99}|user\\.[A-Za-z0-9_.@+-]{1,150})$",
    /// Send a notification to a group
    group_notification = "/v1/groups/{group}/notifications" Notification group "group" "^([A-Za-z0-9_.-]{1,99}|user\\.[A-Za-z0-9_.@+-]{1,150})$",
    /// Tell a group that a file is ready
    group_file = "/v1/groups/{group}/files" File group "group" "^([A-Za-z0-9_.-]{1,99}|user\\.[A-Za-z0-9_.@+-]{1,150})$",
    /// Send an event of any kind to a group
    group_event = "/v1/groups/{group}/events" Own group "group" "^([A-Za-z0-9_.-]{1,99}|user\\.[A-Za-z0-9_.@+-]{1,150})$",
    /// Send a message to a user
    user_message = "/v1/users/{user}/messages" Message user "user" "^[A-Za-z0-9_.@+-]{1,150}$",
    /// Send a notification to a user
    user_notification = "/v1/users/{user}/notifications" Notification user "user" "^[A-Za-z0-9_.@+-]{1,150}$",
    /// Tell a user that a file is ready
    user_file = "/v1/users/{user}/files" File user "user" "^[A-Za-z0-9_.@+-]{1,150}$",
    /// Send an event of any kind to a user
    user_event = "/v1/users/{user}/events" Own user "user" "^[A-Za-z0-9_.@+-]{1,150}$",
}

/// A group's name out of a path or a body.
pub(super) fn group(name: &str) -> Result<GroupName, Problem> {
    GroupName::parse(name).map_err(|error| Problem::name(Reason::BadGroupName, "group", &error))
}

fn user(id: &str) -> Result<GroupName, Problem> {
    let user = UserId::parse(id).map_err(|error| Problem::name(Reason::BadUserId, "user", &error))?;
    Ok(GroupName::personal(&user))
}

fn key(text: &str) -> Result<IdempotencyKey, Problem> {
    IdempotencyKey::parse(text).map_err(|error| Problem::name(Reason::BadIdempotencyKey, "key", &error))
}

fn key_of(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let text = headers.get(KEY_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()));
    text.map(|text| key(&text)).transpose()
}

async fn one<D: Draft>(api: &Api, group: GroupName, request: Request) -> Result<Json<Receipt>, Problem> {
    let format = match Format::of(request.headers())? {
        Format::Lines => return Err(Problem::new(Reason::UnsupportedMediaType, "application/x-ndjson is for POST /v1/batch only")),
        format @ (Format::Json | Format::Msgpack) => format,
    };
    let key = key_of(request.headers())?;
    let body = body::read(request, body::EVENT_BYTES).await?;
    let content = body::parse::<D>(format, &body)?.content()?;
    publish(api, group, content, key).await.map(Json)
}

async fn publish(api: &Api, group: GroupName, content: Content, key: Option<IdempotencyKey>) -> Result<Receipt, Problem> {
    let retention = api.policies.load().of(&group).history;
    let receipt = api.broker.publish(Publication { group, content, sender: None, key, retention }).await?;
    if !receipt.duplicate {
        api.metrics.published(SOURCE);
    }
    Ok(receipt.into())
}

/// What became of the events of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchReceipt {
    /// One for each event, in the same order.
    results: Vec<BatchResult>,
}

/// What became of one event of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchResult {
    Accepted(BatchAccepted),
    Refused(BatchRefused),
}

/// An event of a batch that is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAccepted {
    /// True.
    ok: bool,
    #[serde(flatten)]
    receipt: Receipt,
}

/// An event of a batch that was not accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchRefused {
    /// False.
    ok: bool,
    /// Why not.
    error: Document,
}

/// Send many events in one request
///
/// At most 1,000 events, in order. An event that can't be accepted as it is gets its own error, and the others go on. When the server can't take an
/// event at the moment, the later ones are not tried, so that a repetition of the rest keeps the order.
#[utoipa::path(
    post,
    path = "/v1/batch",
    tag = "publish",
    request_body(
        description = "An array of events; or, as `application/x-ndjson`, one event a line",
        content((Vec<BatchEvent> = "application/json"), (BatchEvent = "application/x-ndjson"), (Vec<BatchEvent> = "application/msgpack")),
    ),
    responses((status = 200, description = "The batch was read; see each result", body = BatchReceipt), Publishing),
)]
pub(super) async fn batch(State(api): State<Arc<Api>>, request: Request) -> Result<Json<BatchReceipt>, Problem> {
    let format = Format::of(request.headers())?;
    if request.headers().contains_key(KEY_HEADER) {
        let detail = "Idempotency-Key: a batch has no key of its own; give each event a `key`";
        return Err(Problem::new(Reason::BadIdempotencyKey, detail));
    }
    let body = body::read(request, body::BATCH_BYTES).await?;
    let events = match format {
        Format::Json => serde_json::from_slice::<Items<'_>>(&body).map_err(|error| body::refuse(&error))?.0,
        Format::Lines => body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).take(BATCH_EVENTS + 1).collect(),
        Format::Msgpack => body::packed_array(&body, BATCH_EVENTS + 1)?,
    };
    if events.len() > BATCH_EVENTS {
        return Err(Problem::new(Reason::TooManyEvents, format!("The batch has more than {BATCH_EVENTS} events, which is the most here")));
    }
    let mut results = Vec::with_capacity(events.len());
    let mut full: Option<Problem> = None;
    for (at, event) in events.into_iter().enumerate() {
        if at % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
        let outcome = match &full {
            None => batched(&api, format, event).await,
            Some(problem) => {
                Err(Problem { detail: format!("Not tried, because of an event before it: {}", problem.detail), ..problem.clone() })
            }
        };
        if let Err(problem) = &outcome
            && problem.reason == Reason::Unavailable
            && full.is_none()
        {
            full = Some(problem.clone());
        }
        results.push(outcome.into());
    }
    Ok(Json(BatchReceipt { results }))
}

async fn batched(api: &Api, format: Format, bytes: &[u8]) -> Result<Receipt, Problem> {
    let event: BatchEvent = body::parse(format, bytes)?;
    let group = match (&event.group, &event.user) {
        (Some(name), None) => group(name)?,
        (None, Some(id)) => user(id)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Problem::new(Reason::BadEvent, "An event has either a field `group` or a field `user`"));
        }
    };
    let key = event.key.as_deref().map(key).transpose()?;
    publish(api, group, event.content()?, key).await
}

impl From<Result<Receipt, Problem>> for BatchResult {
    fn from(outcome: Result<Receipt, Problem>) -> Self {
        match outcome {
            Ok(receipt) => Self::Accepted(BatchAccepted { ok: true, receipt }),
            Err(problem) => Self::Refused(BatchRefused { ok: false, error: problem.document(None) }),
        }
    }
}

/// The elements of a JSON array, unread; at most one more than a batch may have, however long the array is.
struct Items<'a>(Vec<&'a [u8]>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while items.len() <= BATCH_EVENTS
                    && let Some(element) = elements.next_element::<&RawValue>()?
                {
                    items.push(element.get().as_bytes());
                }
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items(items))
            }
        }

        deserializer.deserialize_seq(Elements)
    }
}
