//! Discovery, the description, and the files that come with the server.

use super::*;

async fn discover(world: &World, host: &str) -> Answer {
    let request = Request::builder().uri("/.well-known/fanfare").header(header::HOST, host);
    world.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn discovery_names_the_host_that_was_asked() {
    let mut world = world();
    assert_eq!(
        discover(&world, "localhost:8080").await.json(),
        json!({
            "version": VERSION,
            "protocols": ["fanfare.v1"],
            "webtransport": {"url": "https://127.0.0.1:4433/fanfare", "certificateHashes": ["ab12"]},
            "websocket": {"url": "ws://localhost:8080/fanfare"},
            "rules": [{"engine": "webkit", "minVersion": 0, "allow": false}],
        })
    );
    for (host, url) in [("Edge.Example", "https://edge.example:4433/fanfare"), ("[::1]:8080", "https://[::1]:4433/fanfare")] {
        assert_eq!(discover(&world, host).await.json()["webtransport"]["url"], url);
    }
    *world.hashes.write().unwrap() = vec!["cd34".to_owned(), "ef56".to_owned()];
    assert_eq!(discover(&world, "localhost").await.json()["webtransport"]["certificateHashes"], json!(["cd34", "ef56"]));
    world.api.discovery.websocket = WebSocketListener { port: 443, secure: true };
    world.api.discovery.webtransport = None;
    let answer = discover(&world, "edge.example").await.json();
    assert_eq!((&answer["webtransport"], &answer["websocket"]["url"]), (&Value::Null, &json!("wss://edge.example:443/fanfare")));
    for host in ["", "a b", "evil@host", "x/y", "\"><script>"] {
        discover(&world, host).await.problem(400, "bad_request");
    }
}

#[tokio::test]
async fn discovery_can_be_read_from_allowed_origins_only() {
    let world = world();
    for (origin, told) in [(ORIGIN, ORIGIN), ("https://evil.example", "")] {
        let request = without_key(Method::GET, "/.well-known/fanfare").header(header::ORIGIN, origin).body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN)), (200, told));
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let answer = world().get("/v1/openapi.json").await;
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/json");
    assert!(answer.json()["paths"]["/v1/batch"]["post"].is_object());
}

#[tokio::test]
async fn the_root_is_a_page_with_or_without_the_console() {
    let mut world = world();
    for console in [true, false] {
        world.api.console = console;
        let answer = world.send(without_key(Method::GET, "/").body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header(header::CONTENT_TYPE)), (200, "text/html; charset=utf-8"));
        assert!(answer.header(header::CONTENT_SECURITY_POLICY).starts_with("default-src 'self'; "));
        assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(answer.header(header::REFERRER_POLICY), "no-referrer");
        assert!(answer.text().contains("fanfare"));
    }
}

#[tokio::test]
async fn files_are_asked_about_and_not_sent_twice() {
    let world = world();
    let ask = |held: String| world.send(without_key(Method::GET, "/").header(header::IF_NONE_MATCH, held).body(Body::empty()).unwrap());
    let first = ask(String::new()).await;
    let tag = first.header(header::ETAG).to_owned();
    assert_eq!((first.status.as_u16(), first.header(header::CACHE_CONTROL)), (200, "no-cache"));
    for held in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = ask(held).await;
        assert_eq!((again.status.as_u16(), again.body.len(), again.header(header::ETAG)), (304, 0, tag.as_str()));
    }
    assert_eq!(ask("\"other\"".to_owned()).await.status, 200);
    let head = world.send(without_key(Method::HEAD, "/").body(Body::empty()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.body.len(), head.header(header::ETAG)), (200, 0, tag.as_str()));
}
