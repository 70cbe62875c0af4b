//! A server that uses wtransport as its own example does: a task a session, nothing tuned; on a runtime of one thread, because it has one
//! core. It lets a session in and no more, so that what a connect costs there can be compared with ours.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use fanfare::{
    protocol::{ClientFrame, Dialect, Position, Recovery, ServerFrame, StreamDecoder, Welcome, limits, prefix_len},
    transport::tls,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wtransport::{Endpoint, ServerConfig, endpoint::IncomingSession};

/// Serves until it is ended. Over TCP on the same port it says where it is.
pub(crate) fn serve(port: u16) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let home = std::env::var("HOME").context("HOME")?;
        #[expect(clippy::disallowed_methods, reason = "a certificate begins now")]
        let certificate = tls::development(home.as_ref(), std::time::SystemTime::now(), false)?;
        let digest: String = certificate.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        let tls = std::sync::Arc::unwrap_or_clone(tls::Certificates::new(certificate, []).quic()?);
        let endpoint = Endpoint::server(ServerConfig::builder().with_bind_address(at).with_custom_tls(tls).build())?;
        #[expect(clippy::disallowed_methods, reason = "ends with the process")]
        tokio::spawn(say_where(tokio::net::TcpListener::bind(at).await?, digest));
        loop {
            let incoming = endpoint.accept().await;
            #[expect(clippy::disallowed_methods, reason = "ends with its session")]
            tokio::spawn(session(incoming));
        }
    })
}

async fn session(incoming: IncomingSession) -> anyhow::Result<()> {
    let connection = incoming.await?.accept().await?;
    let (mut send, mut recv) = connection.accept_bi().await?;
    let (mut decoder, mut buffer) = (StreamDecoder::new(limits::FRAME_BYTES), [0; 1024]);
    while let Some(read) = recv.read(&mut buffer).await? {
        decoder.push(&buffer[..read]);
        while let Some(frame) = decoder.next_frame()? {
            let answer = match ClientFrame::decode(Dialect::Msgpack, &frame)? {
                ClientFrame::Hello(_) => ServerFrame::Welcome(Welcome::default()),
                ClientFrame::Subscribe(subscribe) => ServerFrame::Subscribed {
                    request: subscribe.request,
                    number: 1,
                    group: subscribe.group,
                    position: Position::NONE,
                    recovery: Recovery::NotAsked,
                    missed: 0,
                },
                _ => continue,
            };
            let frame = answer.encode(Dialect::Msgpack);
            ensure!(prefix_len(frame.len()) == 1, "an answer of more than 63 bytes");
            send.write_all(&[&[frame.len() as u8], &frame[..]].concat()).await?;
        }
    }
    Ok(())
}

async fn say_where(listener: tokio::net::TcpListener, digest: String) -> anyhow::Result<()> {
    let at = listener.local_addr()?;
    let (webtransport, websocket) = (format!("https://{at}/fanfare"), format!("ws://{at}/fanfare"));
    let body = serde_json::json!({
        "version": "plain",
        "webtransport": { "url": webtransport, "certificateHashes": [digest] },
        "websocket": { "url": websocket },
    });
    let body = body.to_string();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut request = [0; 4096];
        // Who only looks whether somebody listens says nothing.
        if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}
