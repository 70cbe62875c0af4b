"""Certificates as clients see them: renewed under open sessions, several by host name, refused when they are wrong."""

import asyncio
import datetime
import hashlib
import signal
import ssl
import tempfile
import time
import unittest
from pathlib import Path
from urllib.parse import urlsplit

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.client import connect
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cases import InteropTest
from clients import WebSocketClient, WebTransportClient
from dialects import Json, Msgpack
from server import PATIENCE, Server


def write_pair(certificate, key, *names):
    """Makes a certificate for these names, writes it and its key in PEM form, and gives its SHA-256."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    )
    made = builder.sign(private, hashes.SHA256())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(private.private_bytes(*form))
    return made.fingerprint(hashes.SHA256()).hex()


async def seen_by_tcp(port, host="a.example", versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)):
    """The SHA-256 of the certificate that a new TCP client gets, and the version of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version, context.maximum_version = versions
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
    tls = writer.get_extra_info("ssl_object")
    found = hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest(), tls.version()
    writer.close()
    return found


class Handshake(QuicConnectionProtocol):
    """Takes no notice of what the server says after the handshake."""

    def quic_event_received(self, event):
        pass


async def seen_by_quic(port, host="a.example"):
    """The SHA-256 of the certificate that a new QUIC client gets."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=host, verify_mode=ssl.CERT_NONE)
    async with asyncio.timeout(PATIENCE):
        async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Handshake) as client:
            return client._quic.tls._peer_certificate.fingerprint(hashes.SHA256()).hex()


class Certificates(InteropTest):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="fanfare-certificates-")
        cls.addClassCleanup(directory.cleanup)
        cls.files = {name: Path(directory.name) / f"{name}.pem" for name in ("a", "a-key", "b", "b-key")}
        cls.a = write_pair(cls.files["a"], cls.files["a-key"], "a.example")
        cls.b = write_pair(cls.files["b"], cls.files["b-key"], "b.example", "*.b.example")
        tables = [f'{{certificate = "{cls.files[name]}", key = "{cls.files[f"{name}-key"]}"}}' for name in ("a", "b")]
        # Looked at so seldom that only a signal makes the server look.
        cls.settings = {"tls.certificates": f"[{', '.join(tables)}]", "tls.check_interval": "1h"}
        super().setUpClass()
        cls.tcp = urlsplit(cls.server.secure_url).port
        cls.quic = urlsplit(cls.server.discovery["webtransport"]["url"]).port

    def metric(self, name):
        text = self.server.text("/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    async def until(self, what, holds):
        deadline = time.monotonic() + PATIENCE
        while not await holds():
            self.assertLess(time.monotonic(), deadline, f"never: {what}")
            await asyncio.sleep(0.02)

    async def test_the_host_name_chooses_and_the_first_is_for_all_others(self):
        for host, expected in (("a.example", self.a), ("b.example", self.b), ("x.b.example", self.b), ("y.x.b.example", self.a), ("c.example", self.a)):
            with self.subTest(host):
                self.assertEqual((await seen_by_tcp(self.tcp, host))[0], expected)
                self.assertEqual(await seen_by_quic(self.quic, host), expected)

    async def test_tls_1_2_and_1_3_are_spoken_over_tcp_and_nothing_older(self):
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            self.assertEqual((await seen_by_tcp(self.tcp, versions=(version, version)))[1], name)
        with self.assertRaises(ssl.SSLError), self.assertWarns(DeprecationWarning):
            await seen_by_tcp(self.tcp, versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))

    async def test_a_renewed_certificate_is_for_new_connections_and_a_wrong_one_for_none(self):
        self.server.discovery["webtransport"]["certificateHashes"] = [self.a]
        insecure = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
        old = [
            await self.connected(WebTransportClient, Msgpack),
            await self.connected(WebSocketClient, Json, url=self.server.secure_url, tls=insecure),
        ]
        for client in old:
            await client.hello()

        refused = self.metric("fanfare_certificates_refused_total")
        self.files["a"].write_text("no certificate\n")
        self.server.process.send_signal(signal.SIGHUP)

        async def told():
            return self.metric("fanfare_certificates_refused_total") > refused

        await self.until("the wrong certificate is told", told)
        self.assertEqual((await seen_by_tcp(self.tcp))[0], self.a)

        renewed = write_pair(self.files["a"], self.files["a-key"], "a.example")
        self.server.process.send_signal(signal.SIGHUP)

        async def taken():
            return (await seen_by_tcp(self.tcp))[0] == renewed

        await self.until("new connections get the renewed certificate", taken)
        self.assertEqual(await seen_by_quic(self.quic), renewed)
        self.assertEqual((await seen_by_tcp(self.tcp, "b.example"))[0], self.b)
        for client in old:
            await self.assert_alive(client)
        type(self).a = renewed


class Development(unittest.IsolatedAsyncioTestCase):
    async def test_a_development_certificate_that_is_made_anew_is_announced_and_used(self):
        with tempfile.TemporaryDirectory(prefix="fanfare-certificates-") as directory:
            server = Server({"tls.development": directory, "tls.check_interval": "20ms"})
            self.addCleanup(server.stop)
            before = server.discovery["webtransport"]["certificateHashes"]
            old = await WebTransportClient.connect(server, Msgpack)
            self.addAsyncCleanup(old.leave)
            await old.hello()
            await server.run("cert", "--renew", "--dir", directory)
            deadline = time.monotonic() + PATIENCE
            while (announced := server.get("/.well-known/fanfare"))["webtransport"]["certificateHashes"] == before:
                self.assertLess(time.monotonic(), deadline, "the new certificate is never announced")
                await asyncio.sleep(0.02)
            server.discovery = announced
            new = await WebTransportClient.connect(server, Msgpack)
            self.addAsyncCleanup(new.leave)
            await new.hello()
            await old.send("ping", 1)
            self.assertEqual(await old.receive(), ["pong", 1])
