//! Pages of older applications: text messages at `/ws/tasks/`, as `docs/legacy.md` describes them.

use std::{sync::Arc, time::Duration};

use fanfare::{
    broker::{Deliver as _, Publication},
    protocol::{Code, Content, Dialect, GroupName, Level, UserId, from_json},
    session::Identity,
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

use crate::common::{TestServer, config, soon, until};
use fanfare::client::Transport;

/// The page's end of a connection.
struct Page(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Page {
    async fn open(server: &TestServer) -> Self {
        Self::from(server, "/ws/tasks/", None).await.unwrap()
    }

    async fn from(server: &TestServer, path: &str, origin: Option<&str>) -> Result<Self, Error> {
        let mut request = format!("ws://{}{path}", server.listen().http.unwrap()).into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
        }
        soon(connect_async(request)).await.map(|(socket, _)| Self(socket))
    }

    async fn say(&mut self, text: &str) {
        soon(self.0.send(Message::text(text))).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        soon(self.0.next()).await.unwrap().unwrap()
    }

    /// The next object; pings are answered on the way, as a browser does.
    async fn told(&mut self) -> Value {
        loop {
            match self.next().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of text"),
            }
        }
    }

    async fn follow(&mut self, group: &str) {
        self.say(&json!({"action": "subscribe_group", "group_name": group}).to_string()).await;
        assert_eq!(self.told().await, json!({"type": "group_subscription_confirmed", "group_name": group}));
    }

    /// The code of the close that comes next.
    async fn closed(&mut self) -> u16 {
        loop {
            match self.next().await {
                Message::Close(Some(close)) => return close.code.into(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of a close"),
            }
        }
    }
}

impl TestServer {
    async fn tell(&self, group: &str, content: Content) {
        let group = GroupName::parse(group).unwrap();
        let retention = self.parts.policies.load().of(&group).history;
        self.parts.broker.publish(Publication { group, content, sender: None, key: None, retention }).await.unwrap();
    }
}

/// A server that takes everybody for john, who has a task.
fn johns(workers: usize) -> TestServer {
    let tasks = from_json(&json!([{"task_id": "t1", "progress": 10}]));
    let john = Identity { user: UserId::parse("john").ok(), tasks: Some(tasks.into()), ..Identity::default() };
    let mut config = config(workers);
    config.authenticate = Arc::new(move |_| Ok(john.clone()));
    TestServer::with(config)
}

#[tokio::test]
async fn an_old_page_follows_groups_and_tasks_beside_new_clients() {
    let server = TestServer::start(2);
    let mut page = Page::open(&server).await;
    let mut client = server.client((Transport::Websocket, Dialect::Msgpack)).await;
    client.subscribe("sales_team", None).await;
    page.follow("sales_team").await;
    page.say(r#"{"action":"subscribe","task_id":"t-9"}"#).await;
    assert_eq!(page.told().await, json!({"type": "subscription_confirmed", "task_id": "t-9"}));

    server.tell("sales_team", Content::notification(Level::Success, "Great", "Target reached", None).unwrap()).await;
    let told = page.told().await;
    assert_eq!(
        (&told["type"], &told["title"], &told["message"]),
        (&json!("group_notification"), &json!("Great"), &json!("Target reached"))
    );
    assert_eq!(client.event().await.offset, 1);
    let update = Content::parse(&fanfare::protocol::RawKind::Number(3), Some(from_json(&json!({"progress": 40})).into()), None).unwrap();
    server.tell("task.t-9", update).await;
    let told = page.told().await;
    assert_eq!((&told["type"], &told["task_id"], &told["progress"]), (&json!("task_update"), &json!("t-9"), &json!(40)));

    page.say(r#"{"action":"unsubscribe_group","group_name":"sales_team"}"#).await;
    page.say(r#"{"action":"unsubscribe","task_id":"t-9"}"#).await;
    // Nothing is said to either; the next confirmation shows that both are done.
    page.follow("other").await;
    server.publish("sales_team", "not for the page").await;
    server.publish("task.t-9", "nor this").await;
    server.publish("other", "for the page").await;
    assert_eq!(page.told().await["message"], "for the page");
    assert_eq!(server.metric("fanfare_connections{transport=\"legacy\"}"), 1.0);
    drop(page);
    until("the connection is counted out", || server.metric("fanfare_connections{transport=\"legacy\"}") == 0.0).await;
}

#[tokio::test]
async fn a_user_is_told_of_running_tasks_and_follows_its_own_channel() {
    let server = johns(1);
    let mut page = Page::open(&server).await;
    assert_eq!(page.told().await, json!({"type": "active_tasks", "tasks": [{"task_id": "t1", "progress": 10}]}));
    until("john follows", || server.parts.router.members(&GroupName::parse("user.john").unwrap()) == 1).await;
    server.publish("user.john", "for you").await;
    let told = page.told().await;
    assert_eq!((&told["type"], &told["username"], &told["message"]), (&json!("user_message"), &json!("john"), &json!("for you")));
}

#[tokio::test]
async fn nothing_that_a_page_says_ends_its_connection_and_what_it_may_not_is_not_confirmed() {
    let server = TestServer::start(1);
    let mut page = Page::open(&server).await;
    for text in ["", "no JSON", "[1]", r#"{"action":"dance"}"#, r#"{"action":"subscribe_group"}"#, r#"["publish",1,"g","message","x"]"#] {
        page.say(text).await;
    }
    page.0.send(Message::binary(vec![0x94, 0x01, 0x01])).await.unwrap();
    for group in ["closed_room", "no such name!", "user.ann"] {
        page.say(&json!({"action": "subscribe_group", "group_name": group}).to_string()).await;
    }
    page.follow("still_here").await;
    assert_eq!(server.metric("fanfare_error_replies_total{code=\"not_allowed\"}"), 2.0);
    assert_eq!(server.metric("fanfare_error_replies_total{code=\"bad_group_name\"}"), 1.0);
}

#[tokio::test]
async fn a_page_that_says_nothing_lives_by_its_browsers_pongs() {
    let mut config = config(1);
    config.session.ping_interval = Duration::from_millis(200);
    let server = TestServer::with(config);
    let mut page = Page::open(&server).await;
    // The library answers while it is read, as a browser does: after many intervals the page is still there.
    for _ in 0..5 {
        assert!(matches!(page.next().await, Message::Ping(_)));
    }
    page.follow("g").await;
    // Who does not read does not answer, and is gone after two intervals.
    until("the page is taken for gone", || server.metric("fanfare_connections_closed_total{transport=\"legacy\",code=\"timeout\"}") == 1.0)
        .await;
}

#[tokio::test]
async fn the_origin_is_checked_and_the_path_can_be_another_or_none() {
    let server = TestServer::start(1);
    assert!(Page::from(&server, "/ws/tasks/", Some("https://good.example")).await.is_ok());
    let refused = Page::from(&server, "/ws/tasks/", Some("https://evil.example")).await.err().unwrap();
    assert!(matches!(refused, Error::Http(answer) if answer.status() == 403));
    assert!(Page::from(&server, "/ws/other/", None).await.is_err());
    let mut config = config(1);
    config.legacy_path = Some("/ws/other/".into());
    let other = TestServer::with(config);
    Page::from(&other, "/ws/other/", None).await.unwrap().follow("g").await;
    assert!(Page::from(&other, "/ws/tasks/", None).await.is_err());
}

#[tokio::test]
async fn a_drain_closes_with_a_code_that_lets_the_page_come_back() {
    let mut server = TestServer::start(1);
    let mut page = Page::open(&server).await;
    page.follow("g").await;
    server.publish("g", "before the end").await;
    let running = server.server.take().unwrap();
    let ended = tokio::task::spawn_blocking(move || running.shutdown(Duration::from_secs(10), Duration::ZERO));
    assert_eq!(page.told().await["message"], "before the end");
    assert_eq!(page.closed().await, Code::GoingAway.number());
    drop(page);
    assert!(soon(ended).await.unwrap().clean);
}
