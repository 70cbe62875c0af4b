//! Files that come with the server: the console, and the browser client that applications load from here.
//!
//! All are part of the binary and named in one list, so no path of a request ever reaches a file system.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest as _, Sha256};

use super::Api;

/// Pages load nothing from elsewhere and run nothing inline; they may connect to any server that speaks the protocol.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; connect-src 'self' https: wss: ws: http:; img-src 'self' data:; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// A path and what is served there.
type File = (&'static str, &'static [u8]);

/// The page at `/` where there is no console.
const PLAIN: &[File] = &[("/", include_bytes!("plain.html"))];

/// The console, in `console/`.
const CONSOLE: &[File] = &[
    ("/", include_bytes!("../../console/index.html")),
    ("/app.js", include_bytes!("../../console/app.js")),
    ("/commands.js", include_bytes!("../../console/commands.js")),
    ("/dom.js", include_bytes!("../../console/dom.js")),
    ("/draft.js", include_bytes!("../../console/draft.js")),
    ("/explain.js", include_bytes!("../../console/explain.js")),
    ("/favicon.svg", include_bytes!("../../console/favicon.svg")),
    ("/format.js", include_bytes!("../../console/format.js")),
    ("/link.js", include_bytes!("../../console/link.js")),
    ("/style.css", include_bytes!("../../console/style.css")),
    ("/theme.js", include_bytes!("../../console/theme.js")),
    ("/view-commands.js", include_bytes!("../../console/view-commands.js")),
    ("/view-connection.js", include_bytes!("../../console/view-connection.js")),
    ("/view-events.js", include_bytes!("../../console/view-events.js")),
    ("/view-groups.js", include_bytes!("../../console/view-groups.js")),
    ("/view-send.js", include_bytes!("../../console/view-send.js")),
    ("/view-theme.js", include_bytes!("../../console/view-theme.js")),
    ("/view-toasts.js", include_bytes!("../../console/view-toasts.js")),
    ("/sample/sales-2025.csv", include_bytes!("../../console/sample/sales-2025.csv")),
];

/// The browser client, built in `clients/js/`.
const CLIENT: &[File] = &[
    ("/fanfare/fanfare.js", include_bytes!("../../clients/js/dist/fanfare.js")),
    ("/fanfare/fanfare.global.js", include_bytes!("../../clients/js/dist/fanfare.global.js")),
    ("/fanfare/legacy.js", include_bytes!("../../clients/js/dist/legacy.js")),
    ("/fanfare/legacy.global.js", include_bytes!("../../clients/js/dist/legacy.global.js")),
];

/// Routes of all files.
pub(super) fn routes(console: bool) -> Router<Arc<Api>> {
    let pages = if console { CONSOLE } else { PLAIN };
    pages.iter().chain(CLIENT).fold(Router::new(), |router, &(path, bytes)| {
        let tag = entity_tag(bytes);
        router.route(path, get(move |headers: HeaderMap| std::future::ready(answer(path, bytes, &tag, &headers))))
    })
}

/// A strong validator: the same bytes have the same tag on every node and after every start.
fn entity_tag(bytes: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(bytes);
    let hex = digest.iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing into memory can't fail");
        hex
    });
    HeaderValue::from_str(&format!("\"{hex}\"")).expect("quotes and hex digits are fit for a header")
}

fn answer(path: &str, bytes: &'static [u8], tag: &HeaderValue, headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|held| is_held(held, tag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { bytes.into_response() };
    let headers = response.headers_mut();
    if !known {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
    }
    headers.insert(header::ETAG, tag.clone());
    // Kept, but asked about each time: a new version of the server must not meet the old version's pages.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    response
}

/// Whether one of the tags that the caller holds is the file's (RFC 9110, section 13.1.2).
fn is_held(held: &HeaderValue, tag: &HeaderValue) -> bool {
    let mut held = held.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    held.any(|held| held == b"*" || held.strip_prefix(b"W/").unwrap_or(held) == tag.as_bytes())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        None => "text/html; charset=utf-8",
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        Some((_, "png")) => "image/png",
        Some((_, "json")) => "application/json",
        Some(_) => "application/octet-stream",
    }
}
