//! Noise: random bytes and frames with random mistakes, on both transports and in both dialects. Whatever is opened is closed and counted.

use fanfare::{
    client::Transport,
    protocol::{ClientFrame, Dialect, Subscribe},
};

use crate::common::{TestServer, WAYS, soon, until};

/// Numbers that look random and are the same in each run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % below
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.roll(most) + 1).map(|_| u8::try_from(self.roll(256)).unwrap()).collect()
    }

    /// One to four bytes changed, added or taken away.
    fn spoil(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..=self.roll(4) {
            let (at, byte) = (self.roll(frame.len().max(1)), u8::try_from(self.roll(256)).unwrap());
            match self.roll(3) {
                0 if at < frame.len() => frame[at] = byte,
                1 if at < frame.len() => drop(frame.remove(at)),
                _ => frame.insert(at, byte),
            }
        }
    }
}

fn frames(dialect: Dialect) -> Vec<Vec<u8>> {
    let subscribe = ClientFrame::Subscribe(Subscribe { request: 1, group: "noise".into(), since: None });
    let mut frames = vec![subscribe.encode(dialect).to_vec(), ClientFrame::Ping(7).encode(dialect).to_vec()];
    frames.extend(match dialect {
        Dialect::Msgpack => [b"\x95\x04\x02\xa5noise\x00\xa1x".to_vec(), b"\x93\x03\x03\xa5noise".to_vec()],
        Dialect::Json => [br#"["publish",2,"noise","message","x"]"#.to_vec(), br#"["unsubscribe",3,"noise"]"#.to_vec()],
        Dialect::Legacy => {
            [br#"{"action":"subscribe","task_id":"noise"}"#.to_vec(), br#"{"action":"unsubscribe","task_id":"noise"}"#.to_vec()]
        }
    });
    frames
}

#[tokio::test]
async fn whatever_peers_send_everything_opened_is_closed_and_counted() {
    let server = TestServer::start(2);
    let mut witness = server.client(WAYS[0]).await;
    witness.subscribe("witness", None).await;
    let mut dice = Dice(0x5eed);
    let rounds = 25;
    for _ in 0..rounds {
        for way in WAYS {
            let mut client = server.client(way).await;
            let frames = frames(way.1);
            for _ in 0..=dice.roll(8) {
                let mut frame = if dice.roll(5) == 0 { dice.bytes(80) } else { frames[dice.roll(frames.len())].clone() };
                if dice.roll(2) == 0 {
                    dice.spoil(&mut frame);
                }
                // The server may have gone before all is sent.
                if soon(client.client.send_raw(&frame)).await.is_err() {
                    break;
                }
            }
            if way.0 == Transport::Webtransport && dice.roll(2) == 0 {
                let session = client.client.webtransport().unwrap().clone();
                if let Ok(opening) = soon(session.open_bi()).await
                    && let Ok((mut send, _recv)) = soon(opening).await
                {
                    let _ = soon(send.write_all(&dice.bytes(80))).await;
                }
            }
        }
    }
    for transport in ["websocket", "webtransport"] {
        let witnesses = if transport == "websocket" { 1.0 } else { 0.0 };
        let open = format!("fanfare_connections{{transport=\"{transport}\"}}");
        until("all have left", || server.metric(&open) == witnesses).await;
        let accepted = server.metric(&format!("fanfare_handshakes_total{{transport=\"{transport}\",outcome=\"accepted\"}}"));
        assert_eq!(accepted, f64::from(rounds) * 2.0 + witnesses);
        assert_eq!(closed(&server, transport), accepted - witnesses, "{transport}");
    }
    until("all memberships have ended", || server.metric("fanfare_members") == 1.0).await;
    assert_eq!((server.metric("fanfare_outbox_bytes"), server.metric("fanfare_panics_total")), (0.0, 0.0));
    server.publish("witness", "still here").await;
    assert_eq!(witness.event().await.offset, 1);
}

/// Connections that have ended, whatever the code.
fn closed(server: &TestServer, transport: &str) -> f64 {
    let start = format!("fanfare_connections_closed_total{{transport=\"{transport}\"");
    let text = server.parts.metrics.encode();
    let counts = text.lines().filter(|line| line.starts_with(&start)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    counts.sum()
}
