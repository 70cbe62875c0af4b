//! A server that says what it is told to say: for what a real one can't be made to do on demand.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

/// Says what a command is answered with, as raw bytes; `None`: the connection ends.
pub type Role = dyn Fn(&[String]) -> Option<String> + Send + Sync;

/// See the [module](self). Its threads end with the connections of the node.
pub struct Actor {
    pub addr: SocketAddr,
}

impl Actor {
    pub fn playing(role: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let role: Arc<Role> = Arc::new(role);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let role = role.clone();
                std::thread::spawn(move || play(&stream, &*role));
            }
        });
        Self { addr }
    }

    /// The same, where nothing is wrong with connecting: what it says it is, is a primary that stands alone.
    pub fn primary(role: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::playing(move |words| match words[0].as_str() {
            "CLIENT" | "PING" => Some("+OK\r\n".into()),
            "INFO" => Some(bulk("role:master\r\nredis_mode:standalone\r\nrun_id:1\r\nmaster_replid:2\r\n")),
            _ => role(words),
        })
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }
}

pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Answers commands until the connection ends.
fn play(stream: &TcpStream, role: &Role) {
    let mut reader = BufReader::new(stream);
    while let Some(words) = command(&mut reader) {
        match role(&words) {
            Some(answer) if (&mut &*stream).write_all(answer.as_bytes()).is_ok() => {}
            _ => return,
        }
    }
}

/// The next command's words.
fn command(reader: &mut BufReader<&TcpStream>) -> Option<Vec<String>> {
    let number = |reader: &mut BufReader<&TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.get(1..)?.trim().parse::<usize>().ok()
    };
    let words = number(reader)?;
    (0..words)
        .map(|_| {
            let mut word = vec![0; number(reader)? + 2];
            reader.read_exact(&mut word).ok()?;
            word.truncate(word.len() - 2);
            Some(String::from_utf8_lossy(&word).into_owned())
        })
        .collect()
}
