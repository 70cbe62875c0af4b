//! Keys, origins, request ids, and what happens to everything that fails.

use super::*;

/// Every route that is described, with its method.
fn described() -> Vec<(Method, String)> {
    let description = serde_json::to_value(openapi::described_routes().1).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method, path)));
    methods.map(|(method, path)| (method.to_uppercase().parse().unwrap(), path.replace(['{', '}'], ""))).collect()
}

#[tokio::test]
async fn nothing_under_v1_is_answered_without_the_key() {
    let world = world();
    let hidden = [(Method::GET, "/v1/openapi.json"), (Method::GET, "/v1"), (Method::GET, "/v1/x"), (Method::DELETE, "/v1/batch")];
    let hidden = hidden.map(|(method, path)| (method, path.to_owned()));
    for (method, path) in described().into_iter().filter(|(_, path)| path.starts_with("/v1")).chain(hidden) {
        let answer = world.send(without_key(method.clone(), &path).body(Body::empty()).unwrap()).await;
        assert!(answer.problem(401, "unauthorized").starts_with("no key was given"), "{method} {path}");
        assert_eq!(answer.header(header::WWW_AUTHENTICATE), "Bearer realm=\"fanfare\"");
        for (name, value) in [("authorization", "Bearer wrong"), ("x-api-key", ""), ("authorization", "Basic c2VjcmV0")] {
            let request = without_key(method.clone(), &path).header(name, value);
            world.send(request.body(Body::empty()).unwrap()).await.problem(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn the_key_may_come_in_either_header() {
    let world = world();
    for (name, value) in [("authorization", "Bearer secret-key"), ("authorization", "bearer  secret-key"), ("x-api-key", KEY)] {
        let answer = world.send(without_key(Method::GET, "/v1/health").header(name, value).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_even_with_the_key() {
    let world = world();
    for origin in ["https://evil.example", "null", "https://shop.example.evil.example", "http://shop.example"] {
        let request = with_key(Method::GET, "/v1/health").header(header::ORIGIN, origin).body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        answer.problem(403, "origin_not_allowed");
        assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "");
    }
    let allowed = with_key(Method::GET, "/v1/health").header(header::ORIGIN, ORIGIN).body(Body::empty()).unwrap();
    let answer = world.send(allowed).await;
    assert_eq!((answer.status.as_u16(), answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN)), (200, ORIGIN));
    assert_eq!(answer.header(header::VARY), "Origin");
    let refused = without_key(Method::GET, "/v1/health").header(header::ORIGIN, ORIGIN).body(Body::empty()).unwrap();
    let answer = world.send(refused).await;
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), ORIGIN, "the page has to see why");
}

#[tokio::test]
async fn preflights_are_answered_for_allowed_origins_only() {
    let world = world();
    let ask = |origin: &'static str, path: &'static str| {
        let request =
            without_key(Method::OPTIONS, path).header(header::ORIGIN, origin).header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST");
        world.send(request.body(Body::empty()).unwrap())
    };
    let answer = ask(ORIGIN, "/v1/groups/a/messages").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), ORIGIN);
    assert!(answer.header(header::ACCESS_CONTROL_ALLOW_HEADERS).contains("idempotency-key"));
    ask("https://evil.example", "/v1/groups/a/messages").await.problem(403, "origin_not_allowed");
    let open = ask("https://evil.example", "/.well-known/fanfare").await;
    open.problem(405, "method_not_allowed");
    assert_eq!(open.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_that_help() {
    let world = world();
    let detail = world.get("/v1/group/a").await.problem(404, "not_found");
    assert!(detail.contains("\"/v1/group/a\"") && detail.contains("POST /v1/groups/{group}/messages"), "{detail}");
    let bare = world.send(without_key(Method::GET, "/favicon.ico").body(Body::empty()).unwrap()).await;
    bare.problem(404, "not_found");
    for (method, path) in described() {
        let answer = world.send(with_key(Method::PATCH, &path).body(Body::empty()).unwrap()).await;
        answer.problem(405, "method_not_allowed");
        assert!(answer.header(header::ALLOW).contains(method.as_str()), "{path}: {}", answer.header(header::ALLOW));
    }
    world.get("/v1/groups/%ff").await.problem(400, "bad_request");
}

#[tokio::test]
async fn a_public_router_has_neither_management_nor_metrics() {
    let world = world();
    let ask = async |path: &str, key: bool| {
        let request = if key { with_key(Method::GET, path) } else { without_key(Method::GET, path) };
        let response = world.api.clone().public_router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.status().as_u16()
    };
    for path in ["/", "/.well-known/fanfare", "/healthz", "/readyz"] {
        assert_eq!(ask(path, false).await, 200, "{path}");
    }
    for path in ["/v1/groups", "/v1/health", "/v1/openapi.json"] {
        assert_eq!((ask(path, false).await, ask(path, true).await), (401, 404), "{path}");
    }
    assert_eq!(ask("/metrics", true).await, 404);
}

#[tokio::test]
async fn request_ids_come_back_if_they_are_fit_for_a_log() {
    let world = world();
    let ask = |id: &'static str| world.send(with_key(Method::GET, "/v1/x").header("x-request-id", id).body(Body::empty()).unwrap());
    let answer = ask("web-1.abc_9").await;
    answer.problem(404, "not_found");
    assert_eq!(answer.header("x-request-id"), "web-1.abc_9");
    let (one, two) = (ask("forged\" id").await, ask("").await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    assert!(!one.header("x-request-id").contains(' '));
}

#[tokio::test]
async fn a_panic_ends_one_request_and_tells_nothing() {
    let world = world();
    let answer = world.get("/v1/groups/panic").await;
    let detail = answer.problem(500, "internal");
    assert!(!detail.contains("a test asks"), "{detail}");
    assert_eq!(world.api.metrics.panics.get(), 1);
    assert_eq!(world.get("/v1/health").await.status, 200);
}

#[test]
fn details_are_bounded() {
    let problem = Problem::new(Reason::BadEvent, "ä".repeat(100_000));
    assert_eq!(problem.detail.chars().count(), 401);
}

#[test]
fn problem_types_are_unique() {
    let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
}
