//! What a server says when it has started.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::serve::hex;
use crate::{config::Mode, server::Listen, transport::quic::BUFFER_BYTES, transport::tls::rfc3339};

/// Everything that the words are made from.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) mode: Mode,
    pub(super) file: Option<PathBuf>,
    pub(super) listen: Listen,
    pub(super) steering: Option<String>,
    pub(super) udp_buffer: Option<usize>,
    /// Of the development certificate: its hash, and when it ends.
    pub(super) certificate: Option<([u8; 32], SystemTime)>,
    /// What connects nodes, in words.
    pub(super) broker: String,
    pub(super) page: bool,
    pub(super) open_files: Option<u64>,
    /// Where the key of development is kept.
    pub(super) key_file: Option<PathBuf>,
    pub(super) program: String,
}

/// Fewer open files than this are worth a warning: each connection is one.
pub(super) const OPEN_FILES: u64 = 10_000;

/// The development certificate is renewed so long before its end.
const RENEWAL: Duration = Duration::from_secs(2 * 24 * 3600);

impl Started {
    /// The words, line by line.
    pub(super) fn text(&self) -> String {
        let mut out = format!("fanfare {}\n\n", env!("CARGO_PKG_VERSION"));
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "  {name:<14}{value}");
        };
        let file = self.file.as_ref().map_or_else(|| "none: defaults of this mode".to_owned(), |file| file.display().to_string());
        line("configuration", file);
        if let Some(http) = self.listen.http {
            line("HTTP", format!("http://{} (API, WebSocket at ws://{}/fanfare)", self.host(http), self.host(http)));
        }
        if let Some(secure) = self.listen.secure {
            line("HTTPS", format!("https://{} (TCP; WebSocket at wss://{}/fanfare)", self.host(secure), self.host(secure)));
        }
        if let Some(quic) = self.listen.quic {
            let steering = self.steering.as_deref().unwrap_or_default();
            line("WebTransport", format!("https://{}/fanfare (UDP; packets steered {steering})", self.host(quic)));
        }
        if let Some(api) = self.listen.api {
            line("API", format!("http://{api}"));
        }
        if let Some((hash, until)) = &self.certificate {
            line("certificate", format!("development, SHA-256 {}", hex(hash)));
            line("", format!("valid to {}; renewed after {}", rfc3339(*until), rfc3339(*until - RENEWAL)));
        }
        if let Some(path) = &self.key_file {
            line("API key", path.display().to_string());
        }
        line("broker", self.broker.clone());
        for warning in self.warnings() {
            line("warning", warning);
        }
        self.invitation(&mut out);
        out
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(granted) = self.udp_buffer.filter(|granted| *granted < BUFFER_BYTES) {
            warnings.push(format!(
                "UDP receive buffer is {} KiB, so bursts lose packets; cure: sysctl -w net.core.rmem_max={BUFFER_BYTES} net.core.wmem_max={BUFFER_BYTES}",
                granted / 1024
            ));
        }
        if let Some(files) = self.open_files.filter(|files| *files < OPEN_FILES) {
            warnings.push(format!(
                "at most {files} open files, so fewer connections than that; cure: ulimit -n 65536 (systemd: LimitNOFILE=65536)"
            ));
        }
        warnings
    }

    /// What to do next; its last line can be pasted.
    fn invitation(&self, out: &mut String) {
        let Some(http) = self.listen.http.or(self.listen.api) else { return };
        if self.page {
            let _ = writeln!(out, "\n  open http://{} in a browser, and paste into another terminal:\n", self.host(http));
        } else {
            let _ = writeln!(out, "\n  to send something:\n");
        }
        let api = self.listen.api.unwrap_or(http);
        let url = if api.port() == 8080 { String::new() } else { format!(" --url http://{}", self.host(api)) };
        let _ = writeln!(
            out,
            "{} send notification sales_team 'Monthly target achieved!' --type success --title 'Great job!'{url}",
            self.program
        );
    }

    fn host(&self, addr: SocketAddr) -> String {
        if self.mode == Mode::Dev && addr.ip().is_loopback() { format!("localhost:{}", addr.port()) } else { addr.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Started {
        let addr = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        Started {
            mode: Mode::Dev,
            file: None,
            listen: Listen { http: addr(8080), secure: addr(4433), quic: addr(4433), api: None },
            steering: Some("by connection ID".into()),
            udp_buffer: Some(212_992),
            certificate: Some(([0xab; 32], SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000))),
            broker: "memory (this node only)".into(),
            page: true,
            open_files: Some(1024),
            key_file: Some("/state/key".into()),
            program: "./target/release/fanfare".into(),
        }
    }

    #[test]
    fn every_listener_has_its_url_and_every_warning_its_cure() {
        let text = started().text();
        for words in [
            "http://localhost:8080 (API, WebSocket at ws://localhost:8080/fanfare)",
            "wss://localhost:4433/fanfare",
            "https://localhost:4433/fanfare (UDP; packets steered by connection ID)",
            &format!("SHA-256 {}", "ab".repeat(32)),
            "valid to 2025-11-24T16:00:00Z; renewed after 2025-11-22T16:00:00Z",
            "UDP receive buffer is 208 KiB",
            "sysctl -w net.core.rmem_max=4194304",
            "ulimit -n 65536",
            "none: defaults of this mode",
            "open http://localhost:8080 in a browser",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
    }

    #[test]
    fn the_last_line_can_be_pasted() {
        let last = |started: &Started| started.text().lines().last().unwrap().to_owned();
        let line = "./target/release/fanfare send notification sales_team 'Monthly target achieved!' --type success --title 'Great job!'";
        assert_eq!(last(&started()), line);
        let other_port = Started { listen: Listen { http: Some(([127, 0, 0, 1], 8081).into()), ..Listen::default() }, ..started() };
        assert_eq!(last(&other_port), format!("{line} --url http://localhost:8081"));
    }
}
