//! The description of the API, made from the same annotations as its routes.

use std::sync::Arc;

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use utoipa::{
    OpenApi,
    openapi::{
        OpenApi as Description,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, cluster, discovery, groups, operations, problem, publish, users};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "fanfare",
        description = "Send events to groups and users, and look at what the server does. Every failure is a problem document (RFC 9457).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "publish", description = "Send events"),
        (name = "groups", description = "Look at groups and their past"),
        (name = "users", description = "Manage the sessions of users"),
        (name = "operations", description = "Run the server"),
        (name = "clients", description = "What clients need to know"),
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
struct Frame;

/// All described routes, and their description.
pub(super) fn described_routes() -> (Router<Arc<Api>>, Description) {
    let mut frame = Frame::openapi();
    let components = frame.components.get_or_insert_default();
    components.schemas.extend([problem::schema()]);
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
    OpenApiRouter::with_openapi(frame)
        .routes(routes!(publish::group_message))
        .routes(routes!(publish::group_notification))
        .routes(routes!(publish::group_file))
        .routes(routes!(publish::group_event))
        .routes(routes!(publish::user_message))
        .routes(routes!(publish::user_notification))
        .routes(routes!(publish::user_file))
        .routes(routes!(publish::user_event))
        .routes(routes!(publish::batch))
        .routes(routes!(groups::list))
        .routes(routes!(groups::show))
        .routes(routes!(groups::history))
        .routes(routes!(groups::presence))
        .routes(routes!(users::grant, users::standing, users::revoke_all))
        .routes(routes!(users::revoke))
        .routes(routes!(users::disconnect))
        .routes(routes!(cluster::show))
        .routes(routes!(operations::health))
        .routes(routes!(operations::metrics))
        .merge(open_routes())
        .split_for_parts()
}

/// The routes that are for everybody.
pub(super) fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(operations::alive)).routes(routes!(operations::ready)).routes(routes!(discovery::discover))
}

/// The description as text, as it is served and kept in `docs/openapi.json`.
pub(super) fn text(description: &Description) -> String {
    let mut text = description.to_pretty_json().expect("a description is text, numbers and lists");
    text.push('\n');
    text
}

/// The description as an answer.
pub(super) fn answer(text: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set to write the copy instead of comparing it.
    const WRITE: &str = "FANFARE_WRITE_OPENAPI";

    #[test]
    fn the_copy_in_the_documents_is_the_description() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let text = text(&described_routes().1);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap_or_default() == text, "{path} is out of date; run this test once with {WRITE}=1");
    }

    #[test]
    fn every_operation_says_who_may_call_it_and_how_it_can_fail() {
        let description = serde_json::to_value(described_routes().1).unwrap();
        let mut operations = 0;
        for (path, item) in description["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                operations += 1;
                let answers = operation["responses"].as_object().unwrap();
                assert!(answers.contains_key("200"), "{method} {path}");
                if path.starts_with("/v1/") {
                    assert!(operation.get("security").is_none(), "{method} {path} has to use the security of the whole description");
                    for status in ["400", "401", "403", "404", "405", "422", "500", "503"] {
                        let schema = &answers[status]["content"][problem::CONTENT_TYPE]["schema"]["$ref"];
                        assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
                    }
                }
            }
        }
        assert_eq!(operations, 24);
    }
}
