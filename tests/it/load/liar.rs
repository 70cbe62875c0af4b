//! A server that drops, duplicates, reorders and tells gaps on purpose, and knows of each how often.

use std::{
    cell::RefCell,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
};

use bytes::Bytes;
use fanfare::protocol::{ClientFrame, Content, Dialect, EventId, Gap, GapReason, Position, Recovery, ServerFrame, Welcome};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{Request, Response},
    http::HeaderValue,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

/// How the server puts deliveries on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Text, each delivery a message.
    Single,
    /// Text, four deliveries a message.
    Batched,
    /// Text, each delivery in two fragments, cut within the mark.
    Cut,
    /// Text, each delivery a message, and beside it the same as a message of another group, and as one that has not been published yet.
    Forged,
    /// Text, and everybody is closed as soon as they follow.
    Gone,
    /// `fanfare.v1.msgpack`; of every second lie it says that something is missing.
    Fanfare,
}

/// What it did to each follower.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lies {
    pub published: u64,
    pub dropped: u64,
    /// Those among the dropped that it told.
    pub told: u64,
    pub duplicated: u64,
    pub reordered: u64,
}

/// Serves until it is dropped.
pub struct Liar {
    pub addr: SocketAddr,
    lies: Option<std::thread::JoinHandle<Lies>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Liar {
    pub fn start(speech: Speech) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let lies = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let desk = Rc::new(Desk { speech, state: RefCell::default() });
            tokio::task::LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = serve(TcpListener::from_std(listener).unwrap(), desk.clone()) => {}
                    _ = stopped => {}
                }
            });
            desk.state.borrow().lies
        });
        Self { addr, lies: Some(lies), stop: Some(stop) }
    }

    /// Stops it and asks what it did.
    pub fn confess(mut self) -> Lies {
        drop(self.stop.take());
        self.lies.take().unwrap().join().unwrap()
    }
}

struct Desk {
    speech: Speech,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    followers: Vec<mpsc::Sender<Message>>,
    lies: Lies,
    /// Comes after the next one.
    held: Option<String>,
    /// Waits until there are four.
    batch: Vec<String>,
}

async fn serve(listener: TcpListener, desk: Rc<Desk>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::task::spawn_local(connection(stream, desk.clone()));
    }
}

#[expect(clippy::result_large_err, reason = "the library's type")]
async fn connection(stream: tokio::net::TcpStream, desk: Rc<Desk>) {
    let answer = |request: &Request, mut response: Response| {
        if request.headers().contains_key("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("fanfare.v1.msgpack"));
        }
        Ok(response)
    };
    let (mut sink, mut source) = tokio_tungstenite::accept_hdr_async(stream, answer).await.unwrap().split();
    let (send, mut receive) = mpsc::channel(100_000);
    let writing = async {
        while let Some(message) = receive.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Text(text) => desk.text(text.as_str(), &send),
                Message::Binary(frame) => desk.frame(&frame, &send),
                _ => {}
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}

impl Desk {
    fn text(&self, text: &str, to: &mpsc::Sender<Message>) {
        match text.split_once(' ') {
            Some(("publish", payload)) => self.publish(payload),
            _ => self.follow(to, Message::text("followed")),
        }
    }

    fn frame(&self, frame: &Bytes, to: &mpsc::Sender<Message>) {
        match ClientFrame::decode(Dialect::Msgpack, frame).unwrap() {
            ClientFrame::Hello(_) => to.try_send(binary(&ServerFrame::Welcome(Welcome::default()))).unwrap(),
            ClientFrame::Subscribe(subscribe) => {
                let (position, recovery) = (Position { epoch: 1, offset: 0 }, Recovery::NotAsked);
                let (request, group) = (subscribe.request, subscribe.group);
                self.follow(to, binary(&ServerFrame::Subscribed { request, number: 1, group, position, recovery, missed: 0 }));
            }
            ClientFrame::Publish { request, body, .. } => {
                let body = body.unwrap();
                let text = rmp::decode::read_str_from_slice(&body).unwrap().0.to_owned();
                self.publish(&text);
                let (id, position) = (EventId::from_number(1), Position { epoch: 1, offset: 1 });
                to.try_send(binary(&ServerFrame::Published { request, id, position })).unwrap();
            }
            _ => {}
        }
    }

    fn follow(&self, to: &mpsc::Sender<Message>, answer: Message) {
        to.try_send(answer).unwrap();
        if self.speech == Speech::Gone {
            return to.try_send(Message::Close(None)).unwrap();
        }
        self.state.borrow_mut().followers.push(to.clone());
    }

    /// Of ten messages the third is dropped, the fifth comes twice, and the seventh comes after the eighth.
    fn publish(&self, payload: &str) {
        let mut state = self.state.borrow_mut();
        state.lies.published += 1;
        let number = state.lies.published;
        let mut deliveries = vec![payload.to_owned()];
        match number % 10 {
            3 => {
                deliveries.clear();
                state.lies.dropped += 1;
                if self.speech == Speech::Fanfare && number % 20 == 3 {
                    state.lies.told += 1;
                    let gap = Gap { epoch: 1, from: number, to: number, count: Some(1), reason: GapReason::Slow };
                    state.send(&binary(&ServerFrame::Gap { number: 1, gap }));
                }
            }
            5 => {
                deliveries.push(payload.to_owned());
                state.lies.duplicated += 1;
            }
            7 => state.held = deliveries.pop(),
            8 => {
                deliveries.extend(state.held.take());
                state.lies.reordered += 1;
            }
            _ => {}
        }
        for delivery in deliveries {
            self.deliver(&mut state, delivery);
        }
    }

    fn deliver(&self, state: &mut State, payload: String) {
        match self.speech {
            Speech::Single | Speech::Gone => state.send(&Message::text(payload)),
            Speech::Forged => {
                // The stream stands in bytes 8 to 14 of a mark, the number in 14 to 24.
                let (stray, mut early) = (format!("{}000001{}", &payload[..8], &payload[14..]), payload.clone());
                early.replace_range(14..24, "00000fffff");
                [payload, stray, early].into_iter().for_each(|payload| state.send(&Message::text(payload)));
            }
            Speech::Batched => {
                state.batch.push(payload);
                if state.batch.len() == 4 {
                    let batch = std::mem::take(&mut state.batch);
                    state.send(&Message::text(batch.join("\n")));
                }
            }
            Speech::Cut => {
                let (first, rest) = payload.split_at(20);
                let piece = |text: &str, opcode, last| Message::Frame(Frame::message(text.to_owned(), OpCode::Data(opcode), last));
                state.send(&piece(first, Data::Text, false));
                state.send(&piece(rest, Data::Continue, true));
            }
            Speech::Fanfare => {
                let event = Content::message(&payload, None).unwrap().placed(EventId::from_number(1), state.lies.published, None);
                state.send(&binary(&ServerFrame::Event { number: 1, event }));
            }
        }
    }
}

impl State {
    fn send(&self, message: &Message) {
        self.followers.iter().for_each(|follower| follower.try_send(message.clone()).unwrap());
    }
}

fn binary(frame: &ServerFrame) -> Message {
    Message::binary(frame.encode(Dialect::Msgpack))
}
