use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::common::TestServer;

#[tokio::test]
async fn a_person_with_websocat_follows_a_group() {
    let server = TestServer::start(2);
    let url = format!("ws://{}/fanfare", server.listen().http.unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut say = async |text: &str| socket.send(Message::text(text)).await.unwrap();
    say(r#"["hello",1]"#).await;
    say(r#"["subscribe",1,"sales_team"]"#).await;
    let welcome = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(welcome.starts_with(r#"["welcome",1,"#), "{welcome}");
    let subscribed = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(subscribed.starts_with(r#"["subscribed",1,0,"sales_team","#), "{subscribed}");
    assert_eq!(server.publish("sales_team", "hi").await.subscribers, 1);
    let event = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(event.starts_with(r#"["event",0,1,""#) && event.ends_with(r#","message","hi"]"#), "{event}");
}
