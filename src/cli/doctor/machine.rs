//! What the machine gives a server: ports, files, buffers, and its certificate.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::{Duration, SystemTime},
};

use super::Finding;
use crate::{
    cli::{serve::open_file_limit, started::OPEN_FILES},
    config::Config,
    transport::{
        quic::{self, BUFFER_BYTES, BindError},
        tls::{self, Certificate, Source, rfc3339},
    },
};

/// A certificate that ends sooner than this should be renewed now.
const RENEW_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let tcp = [("listen.http", config.http), ("listen.secure", config.secure), ("listen.api", config.api)];
    let mut findings: Vec<Finding> = tcp.into_iter().filter_map(|(key, addr)| Some(port(key, addr?))).collect();
    if let Some(addr) = config.quic {
        findings.extend(udp(addr, config.workers));
    }
    findings.push(open_files(open_file_limit(), config.limits.connections));
    if config.secure.is_some() || config.quic.is_some() {
        findings.extend(certificates(config, now()));
    }
    findings
}

#[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn port(key: &str, addr: SocketAddr) -> Finding {
    match TcpListener::bind(addr) {
        Ok(_) => Finding::ok(key, format!("{addr} (TCP) is free")),
        Err(error) => taken(key, &format!("{addr} (TCP)"), &error),
    }
}

/// Somebody has it, maybe the very server that is looked after; or nobody can.
fn taken(key: &str, what: &str, error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::AddrInUse => Finding::warn(
            key,
            format!("{what} is in use"),
            format!(
                "if that is this server, all is well; else stop what listens there (`ss -lntup` tells), or set {key} to another address"
            ),
        ),
        io::ErrorKind::PermissionDenied => Finding::fail(
            key,
            format!("{what} may not be used by this user"),
            format!("set {key} to a port from 1024 on, or give the binary the capability: setcap cap_net_bind_service=+ep"),
        ),
        _ => Finding::fail(key, format!("{what} can't be used: {error}"), format!("set {key} to an address of this machine")),
    }
}

/// The port, and what the kernel gives sockets like it.
fn udp(addr: SocketAddr, workers: usize) -> Vec<Finding> {
    let key = "listen.quic";
    let (finding, group) = match quic::bind(addr, workers) {
        Ok(group) => (Finding::ok(key, format!("{addr} (UDP) is free; packets are steered {}", group.steering)), Some(group)),
        Err(BindError::Address { source, .. }) => {
            // Any other port has the same buffers.
            (taken(key, &format!("{addr} (UDP)"), &source), quic::bind(SocketAddr::new(addr.ip(), 0), 1).ok())
        }
        Err(error) => (Finding::fail(key, error.to_string(), "set listen.quic to off if WebTransport is not wanted"), None),
    };
    let buffer = group.map(|group| buffer(group.receive_buffer.min(group.send_buffer)));
    std::iter::once(finding).chain(buffer).collect()
}

fn buffer(granted: usize) -> Finding {
    let found = format!("{} KiB of {} KiB are granted", granted / 1024, BUFFER_BYTES / 1024);
    if granted >= BUFFER_BYTES {
        return Finding::ok("UDP buffers", found);
    }
    let cure = format!("sysctl -w net.core.rmem_max={BUFFER_BYTES} net.core.wmem_max={BUFFER_BYTES}");
    Finding::warn("UDP buffers", format!("{found}, so bursts lose packets"), cure)
}

fn open_files(limit: Option<u64>, connections: usize) -> Finding {
    let check = "open files";
    match limit {
        None => Finding::unknown(check, "this system does not tell how many are allowed"),
        Some(files) if files < OPEN_FILES => Finding::warn(
            check,
            format!("{files} are allowed to who started this, and each connection is one; limits.connections is {connections}"),
            "ulimit -n 65536 (systemd: LimitNOFILE=65536)",
        ),
        Some(files) => Finding::ok(check, format!("{files} are allowed to who started this; limits.connections is {connections}")),
    }
}

/// One finding for each certificate that is configured.
fn certificates(config: &Config, now: SystemTime) -> Vec<Finding> {
    let (first, others) = config.tls.sources();
    std::iter::once(first).chain(others).map(|source| certificate(&source, now)).collect()
}

fn certificate(source: &Source, now: SystemTime) -> Finding {
    let check = "certificate";
    match source {
        Source::Files { certificate, key } => match tls::load(certificate, key, now) {
            Ok(loaded) => own(certificate, &loaded, now),
            Err(error) => Finding::fail(check, error.to_string(), "name a certificate and its key that are valid"),
        },
        Source::Development(dir) => match tls::load(&tls::development_certificate_path(dir), &tls::development_key_path(dir), now) {
            Ok(kept) => Finding::ok(check, format!("development, valid to {}, renewed by the server", rfc3339(kept.not_after))),
            Err(_) => Finding::ok(check, format!("development, will be made in {} by the next start", dir.display())),
        },
    }
}

fn own(path: &Path, certificate: &Certificate, now: SystemTime) -> Finding {
    let check = "certificate";
    let names = certificate.names();
    let until = rfc3339(certificate.not_after);
    if names.is_empty() {
        return Finding::fail(
            check,
            format!("{} is for no name, so no browser takes it", path.display()),
            "have one made with subject alternative names",
        );
    }
    let found = format!("{} for {}, valid to {until}", path.display(), names.join(", "));
    if certificate.not_after < now + RENEW_BEFORE { Finding::warn(check, found, "renew it") } else { Finding::ok(check, found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_port_that_is_taken_is_a_warning_because_it_may_be_this_server() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        assert_eq!(port("listen.http", addr).verdict, Verdict::Warn);
        drop(taken);
        assert_eq!(port("listen.http", addr).verdict, Verdict::Ok);
        assert_eq!(port("listen.http", "192.0.2.1:80".parse().unwrap()).verdict, Verdict::Fail);
    }

    #[test]
    fn the_udp_port_is_looked_at_and_the_buffers_also_if_it_is_taken() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let findings = udp(taken.local_addr().unwrap(), 2);
        assert_eq!((findings.len(), findings[0].verdict), (2, Verdict::Warn));
        assert_eq!(buffer(BUFFER_BYTES).verdict, Verdict::Ok);
        assert_eq!(buffer(212_992).verdict, Verdict::Warn);
    }

    #[test]
    fn few_open_files_are_a_warning() {
        let verdict = |limit| open_files(limit, 100_000).verdict;
        assert_eq!((verdict(Some(1024)), verdict(Some(65_536)), verdict(None)), (Verdict::Warn, Verdict::Ok, Verdict::Unknown));
    }

    #[test]
    fn a_certificate_is_told_with_its_names_and_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
        let made = tls::development(dir.path(), now, false).unwrap();
        let finding = own(Path::new("cert.pem"), &made, now);
        assert_eq!(finding.verdict, Verdict::Warn, "it ends in thirteen days");
        assert!(finding.found.starts_with("cert.pem for localhost, 127.0.0.1, ::1, valid to 2025-12-07T"), "{}", finding.found);
    }
}
