//! `fanfare send`: one event by the HTTP API.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, api_key, env};
use crate::protocol::Level;

/// Sends one event.
#[derive(Debug, clap::Args)]
pub struct Send {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// The target is a user, not a group
    #[arg(long, global = true)]
    user: bool,
    /// Additional data, a JSON object
    #[arg(long, global = true, value_name = "JSON", value_parser = json_object)]
    data: Option<Value>,
    /// Idempotency key: repeating the same within five minutes sends nothing
    #[arg(long, global = true)]
    key: Option<String>,
    /// The server's HTTP address [environment: FANFARE_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true)]
    url: Option<String>,
    /// The API key; without it, that of a development server on this machine [environment: FANFARE_API_KEY]
    #[arg(long, global = true, allow_hyphen_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Print the receipt as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A text
    Message {
        /// The group (with --user: the user)
        target: String,
        /// What to say
        text: String,
    },
    /// A text with a type and a title
    Notification {
        /// The group (with --user: the user)
        target: String,
        /// What to say
        text: String,
        /// How serious it is
        #[arg(long = "type", value_name = "TYPE", default_value = "info", value_parser = ["success", "error", "info", "warning"])]
        level: String,
        /// What it is about
        #[arg(long, default_value = "")]
        title: String,
    },
    /// Something to download
    File {
        /// The group (with --user: the user)
        target: String,
        /// Where it can be had
        #[arg(long, value_name = "URL")]
        file_url: String,
        /// What it is called; by default the last part of the URL
        #[arg(long, value_name = "NAME")]
        file_name: Option<String>,
        /// Its size in bytes
        #[arg(long, value_name = "BYTES")]
        file_size: Option<u64>,
        /// What to say about it
        #[arg(long)]
        message: Option<String>,
    },
    /// An event of the application's own kind
    Event {
        /// The group (with --user: the user)
        target: String,
        /// The kind, such as chat.typing
        kind: String,
        /// The body, any JSON value
        #[arg(value_parser = json_value)]
        body: Value,
    },
}

fn json_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))
}

fn json_object(text: &str) -> Result<Value, String> {
    json_value(text).and_then(|value| if value.is_object() { Ok(value) } else { Err("has to be a JSON object".into()) })
}

/// What the server answers.
#[derive(Debug, Deserialize)]
struct Receipt {
    id: String,
    offset: u64,
    subscribers: usize,
    duplicate: bool,
}

/// RFC 9457.
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
}

impl What {
    /// Target, last part of the path, body.
    fn request(&self) -> (&str, &'static str, Value) {
        match self {
            Self::Message { target, text } => (target, "messages", json!({ "message": text })),
            Self::Notification { target, text, level, title } => {
                // clap has checked the word; this ties it to the protocol's own.
                let level: Option<Level> = serde_json::from_value(json!(level)).ok();
                (target, "notifications", json!({ "message": text, "type": level, "title": title }))
            }
            Self::File { target, file_url, file_name, file_size, message } => {
                let mut body = json!({ "url": file_url });
                for (key, value) in [("name", json!(file_name)), ("size", json!(file_size)), ("message", json!(message))] {
                    if !value.is_null() {
                        body[key] = value;
                    }
                }
                (target, "files", body)
            }
            Self::Event { target, kind, body } => (target, "events", json!({ "kind": kind, "body": body })),
        }
    }
}

impl Send {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (target, last, mut body) = self.what.request();
        if let Some(data) = &self.options.data {
            body["data"] = data.clone();
        }
        let base = self.options.url.clone().or_else(|| env("FANFARE_URL")).unwrap_or_else(|| "http://127.0.0.1:8080".into());
        let mut url = reqwest::Url::parse(&base).map_err(|error| Failure::usage(format!("--url {base}: {error}")))?;
        let scope = if self.options.user { "users" } else { "groups" };
        url.path_segments_mut()
            .map_err(|()| Failure::usage(format!("--url {base}: is no HTTP address")))?
            .pop_if_empty()
            .extend(["v1", scope, target, last]);
        let key = api_key(self.options.api_key.clone())?;
        let mut request = reqwest::Client::new().post(url).bearer_auth(key.expose()).json(&body);
        if let Some(key) = &self.options.key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await.map_err(|error| {
            Failure::unreachable(format!(
                "no server answers at {base}: {}\n  start one with `fanfare dev`, or say where it is with --url",
                error.without_url()
            ))
        })?;
        self.report(target, answer).await
    }

    async fn report(&self, target: &str, answer: reqwest::Response) -> Result<(), Failure> {
        let status = answer.status();
        let text = answer.text().await.map_err(|error| Failure::running(error.without_url()))?;
        if !status.is_success() {
            let problem = serde_json::from_str::<Problem>(&text).unwrap_or(Problem { title: status.to_string(), detail: text });
            let cure = if status.as_u16() == 401 { "\n  the key is not one of the server's: set --api-key or FANFARE_API_KEY" } else { "" };
            return Err(Failure::running(format!("{}: {}{cure}", problem.title, problem.detail)));
        }
        if self.options.json {
            println!("{}", text.trim_end());
            return Ok(());
        }
        let Receipt { id, offset, subscribers, duplicate } = serde_json::from_str(&text).map_err(Failure::running)?;
        let place = if offset > 0 { format!(" at offset {offset}") } else { String::new() };
        let what = if duplicate { "was sent before" } else { "sent" };
        let many = if subscribers == 1 { "" } else { "s" };
        println!("{what} {id} to {target}{place}, {subscribers} subscriber{many} here");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        send: Send,
    }

    fn request(line: &[&str]) -> Result<(String, Value), String> {
        let line = Line::try_parse_from([&["send"], line].concat()).map_err(|error| error.to_string())?;
        let (target, last, body) = line.send.what.request();
        Ok((format!("{target}/{last}"), body))
    }

    #[test]
    fn arguments_become_the_apis_bodies() {
        let notification = ["notification", "sales_team", "done", "--type", "success", "--title", "Great job!"];
        assert_eq!(
            request(&notification).unwrap(),
            ("sales_team/notifications".into(), json!({"message": "done", "type": "success", "title": "Great job!"}))
        );
        let file = ["file", "managers", "--file-url", "/q4.pdf", "--file-size", "2457600"];
        assert_eq!(request(&file).unwrap(), ("managers/files".into(), json!({"url": "/q4.pdf", "size": 2_457_600})));
        let event = ["event", "chat", "chat.typing", r#"{"on":true}"#, "--user"];
        assert_eq!(request(&event).unwrap().1, json!({"kind": "chat.typing", "body": {"on": true}}));
        assert!(request(&["message", "a", "hi", "--data", "[1]"]).unwrap_err().contains("has to be a JSON object"));
        assert!(request(&["message", "a", "hi", "--api-key", "-key"]).is_ok(), "keys that are drawn may begin so");
        assert!(request(&["notification", "a", "hi", "--type", "fatal"]).unwrap_err().contains("possible values"));
    }
}
