//! Problems: every way in which a request can fail, as RFC 9457 documents.
//!
//! Owns the one table of reasons (status, type, title, code of the protocol) and the conversions of other rooms' errors. Its invariant: a detail is a
//! sentence made for the caller; nothing internal is ever in it.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    IntoResponses, PartialSchema as _, ToSchema,
    openapi::{Content, RefOr, ResponseBuilder},
};

use crate::{
    broker,
    protocol::{Code, ContentError, NameError},
};

/// The content type of a problem document.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// Why a request failed, and all that the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: Reason,
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
}

/// A problem as it is written into an answer (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// A stable identifier of the sort of problem, `urn:fanfare:problem:` and a name.
    #[serde(rename = "type")]
    #[schema(example = "urn:fanfare:problem:bad_group_name")]
    kind: String,
    /// The sort of problem in a few words; always the same for one type.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status; in a batch the one that this event alone would have got.
    status: u16,
    /// What is wrong with this request: where, what was found, and the rule.
    detail: String,
    /// The code of the protocol for the same failure (`docs/protocol.md` section 9), where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    /// When a repetition makes sense, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// Also in the header `X-Request-Id` and in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

macro_rules! reasons {
    ($($variant:ident = $status:ident $name:literal $title:literal $code:expr,)*) => {
        /// The sorts of problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Reason {
            $($variant,)*
        }

        impl Reason {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The HTTP status.
            pub(super) const fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)*
                }
            }

            /// What follows `urn:fanfare:problem:` in the type. Never changed, never used again.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            const fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                }
            }

            const fn code(self) -> Option<Code> {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }
    };
}

reasons! {
    BadRequest = BAD_REQUEST "bad_request" "The request can't be understood" None,
    MalformedBody = BAD_REQUEST "malformed_body" "The body can't be read" None,
    BadParameter = BAD_REQUEST "bad_parameter" "A parameter breaks a rule" None,
    Unauthorized = UNAUTHORIZED "unauthorized" "An API key is needed" None,
    OriginNotAllowed = FORBIDDEN "origin_not_allowed" "Pages of this origin may not call this server" None,
    NotFound = NOT_FOUND "not_found" "There is nothing here" None,
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed" "This path has other methods" None,
    BodyTimeout = REQUEST_TIMEOUT "body_timeout" "The body took too long" None,
    BodyTooLarge = PAYLOAD_TOO_LARGE "body_too_large" "The body is too large" None,
    TooManyEvents = PAYLOAD_TOO_LARGE "too_many_events" "There are too many events in the batch" None,
    EventTooLarge = PAYLOAD_TOO_LARGE "event_too_large" "The event is too large" Some(Code::EventTooLarge),
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body's content type is not spoken here" None,
    BadGroupName = UNPROCESSABLE_ENTITY "bad_group_name" "The group name breaks a rule" Some(Code::BadGroupName),
    BadUserId = UNPROCESSABLE_ENTITY "bad_user_id" "The user id breaks a rule" Some(Code::BadGroupName),
    NoPresence = UNPROCESSABLE_ENTITY "no_presence" "It is not known who is in this group" Some(Code::NotAllowed),
    BadIdempotencyKey = UNPROCESSABLE_ENTITY "bad_idempotency_key" "The idempotency key breaks a rule" Some(Code::BadEvent),
    BadEvent = UNPROCESSABLE_ENTITY "bad_event" "The event breaks a rule" Some(Code::BadEvent),
    BadField = UNPROCESSABLE_ENTITY "bad_field" "A field of the body breaks a rule" None,
    TooManyGroups = UNPROCESSABLE_ENTITY "too_many_groups" "There would be more groups than may be" Some(Code::TooManyGroups),
    Internal = INTERNAL_SERVER_ERROR "internal" "The server failed" Some(Code::Internal),
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "This can't be done at the moment" Some(Code::Unavailable),
    NotReady = SERVICE_UNAVAILABLE "not_ready" "The server takes no new connections" None,
}

/// Longest detail, in characters; the rest is cut off.
const DETAIL_CHARS: usize = 400;

impl Problem {
    /// A problem with a sentence about this request.
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        // It may quote the caller: a field's name can be as long as a body.
        if let Some((end, _)) = detail.char_indices().nth(DETAIL_CHARS) {
            detail.replace_range(end.., "…");
        }
        Self { reason, detail, retry_after: None }
    }

    /// The problem of an answer that some layer below made without us, as far as its status tells.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let reason = Reason::ALL.iter().find(|reason| reason.status() == status).copied();
        let other = if status.is_server_error() { Reason::Internal } else { Reason::BadRequest };
        let reason = reason.unwrap_or(other);
        Self::new(reason, format!("{}; GET /v1/openapi.json describes what can be asked.", reason.title()))
    }

    /// A broken name, with the place where it stands.
    pub(super) fn name(reason: Reason, place: &str, error: &NameError) -> Self {
        Self::new(reason, format!("{place}: {error}"))
    }

    /// The document, for an answer or a line of a batch.
    pub(super) fn document(&self, request_id: Option<&str>) -> Document {
        Document {
            kind: format!("urn:fanfare:problem:{}", self.reason.name()),
            title: self.reason.title(),
            status: self.reason.status().as_u16(),
            detail: self.detail.clone(),
            code: self.reason.code().map(Code::number),
            retry_after_ms: self.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            request_id: request_id.map(str::to_owned),
        }
    }
}

/// The answer has no body yet: the gate writes it, because only the gate knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.reason.status().into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.reason == Reason::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fanfare\""));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ContentError> for Problem {
    fn from(error: ContentError) -> Self {
        let reason = match error {
            ContentError::TooLarge { .. } => Reason::EventTooLarge,
            ContentError::Kind(_)
            | ContentError::UnknownKind(_)
            | ContentError::Body { .. }
            | ContentError::Data
            | ContentError::Malformed(_) => Reason::BadEvent,
        };
        Self::new(reason, error.to_string())
    }
}

/// What a caller is told to wait when the broker says nothing about it: long enough for groups that nobody follows to be forgotten.
const TOO_MANY_GROUPS_RETRY: Duration = Duration::from_secs(30);

impl From<broker::Error> for Problem {
    fn from(error: broker::Error) -> Self {
        if let broker::Error::TooManyStanding { .. } = error {
            return Self::new(Reason::TooManyGroups, error.to_string());
        }
        let retry_after = Some(error.retry_after().unwrap_or(TOO_MANY_GROUPS_RETRY));
        Self { retry_after, ..Self::new(Reason::Unavailable, error.to_string()) }
    }
}

/// What every route with a key can answer besides its success.
pub(super) struct Common;

/// What a route that publishes can answer besides.
pub(super) struct Publishing;

impl IntoResponses for Common {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            Reason::BadRequest,
            Reason::Unauthorized,
            Reason::OriginNotAllowed,
            Reason::NotFound,
            Reason::MethodNotAllowed,
            Reason::BadGroupName,
            Reason::Internal,
            Reason::Unavailable,
        ])
    }
}

impl IntoResponses for Publishing {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let more = described(&[Reason::BodyTimeout, Reason::BodyTooLarge, Reason::UnsupportedMediaType, Reason::BadEvent]);
        std::iter::chain(Common::responses(), more).collect()
    }
}

/// The description of a status is the names of all problems that have it.
fn described(reasons: &[Reason]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let describe = |reason: &Reason| {
        let same = Reason::ALL.iter().filter(|other| other.status() == reason.status() && **other != Reason::NotReady);
        let names: Vec<_> = same.map(|reason| format!("`{}`", reason.name())).collect();
        let schema = RefOr::Ref(utoipa::openapi::Ref::from_schema_name(Document::name()));
        let response = ResponseBuilder::new().description(names.join(", ")).content(CONTENT_TYPE, Content::new(Some(schema))).build();
        (reason.status().as_u16().to_string(), RefOr::T(response))
    };
    reasons.iter().map(describe).collect()
}

/// The schema of a problem, for the components of the description.
pub(super) fn schema() -> (String, RefOr<utoipa::openapi::Schema>) {
    (Document::name().into_owned(), Document::schema())
}
