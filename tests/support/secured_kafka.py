"""Apache Kafka as production has it: TLS, log-in and ACLs, with certificates made here.

One server has all listeners. `alice` may do everything by password, `lalafo` (the subject of the
good client certificate) by mutual TLS, `service` by a token; `limited` has the ACLs that a test
gives it.
"""

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lalafo_assets.bench.kafka.server import KafkaServer, Listener

PASSWORD = "s3cret-p4ss, word=1"
KEY_PASSWORD = "k3y-p4ss"
CLIENT_SECRET = "cl13nt-s3cret"
USERS = ("alice", "limited", "rotated", "a=b,c")
_JAAS = "org.apache.kafka.common.security"
_AUDIENCE, _ISSUER = "kafka", "https://issuer.example.org"


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: what a client is given."""

    folder: Path

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def other_ca(self) -> str:
        return str(self.folder / "other-ca.pem")

    def client(self, name: str) -> tuple[str, str]:
        """The certificate and key `good`, `expired` or `stranger` (of another CA)."""
        return str(self.folder / f"{name}.crt"), str(self.folder / f"{name}.key")

    def mutual(self, name: str = "good") -> dict[str, str]:
        """The settings of a client with a certificate."""
        certificate, key = self.client(name)
        return {
            "kafka_security_protocol": "SSL",
            "kafka_ssl_ca_location": self.ca,
            "kafka_ssl_certificate_location": certificate,
            "kafka_ssl_key_location": key,
            "kafka_ssl_key_password": KEY_PASSWORD,
        }


def make_certificates(folder: Path) -> Certificates:
    """Write a CA, and certificates that are good, expired, of another host, and of another CA."""
    folder.mkdir()
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other-ca.pem")
    past = datetime.now(UTC) - timedelta(days=2)
    expired = {"not_before": past, "not_after": past + timedelta(days=1)}
    _write_server(folder / "server.pem", ca.issue_cert("127.0.0.1", "localhost"))
    _write_server(folder / "expired.pem", ca.issue_cert("127.0.0.1", **expired))
    _write_server(folder / "elsewhere.pem", ca.issue_cert("kafka.example.org"))
    _write_client(folder / "good", ca.issue_cert("lalafo@example.org", common_name="lalafo"))
    _write_client(
        folder / "expired", ca.issue_cert("lalafo@example.org", common_name="lalafo", **expired)
    )
    _write_client(folder / "stranger", other.issue_cert("l@example.org", common_name="lalafo"))
    return Certificates(folder)


def _write_server(file: Path, issued: trustme.LeafCert) -> None:
    """A key and its chain in one file, as Kafka's keystores of type PEM are."""
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    file.write_bytes(_pkcs8(issued, serialization.NoEncryption()) + chain)


def _write_client(file: Path, issued: trustme.LeafCert) -> None:
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    file.with_suffix(".crt").write_bytes(chain)
    encryption = serialization.BestAvailableEncryption(KEY_PASSWORD.encode())
    file.with_suffix(".key").write_bytes(_pkcs8(issued, encryption))


def _pkcs8(issued: trustme.LeafCert, encryption: serialization.KeySerializationEncryption) -> bytes:
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


class TokenEndpoint:
    """An OAuth token endpoint over HTTP: signs real tokens for `service`, whose key Kafka knows.

    Attributes:
        asked: how many tokens were asked for.
        lifetime_s: of the next token.
        status: of the next answer.
        subject: of the next token.
    """

    def __init__(self, keys_file: Path) -> None:
        self.asked = 0
        self.lifetime_s = 300.0
        self.status = 200
        self.audience = _AUDIENCE
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key().public_numbers()
        jwk = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256"}
        jwk |= {"n": _number(public.n), "e": _number(public.e)}
        keys_file.write_text(json.dumps({"keys": [jwk]}))
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, answer = endpoint.answer(self.headers.get("Authorization", ""), body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/oauth2/token"

    def settings(self, secret: str = CLIENT_SECRET) -> dict[str, str]:
        """The settings of a client that logs in with this endpoint's tokens."""
        prefix = "kafka_sasl_oauthbearer"
        return {
            "kafka_sasl_mechanism": "OAUTHBEARER",
            f"{prefix}_method": "oidc",
            f"{prefix}_token_endpoint_url": self.url,
            f"{prefix}_client_id": "service",
            f"{prefix}_client_secret": secret,
            f"{prefix}_scope": "kafka",
        }

    def answer(self, authorization: str, body: str) -> tuple[int, dict[str, Any]]:
        from base64 import b64encode

        self.asked += 1
        form = {name: values[0] for name, values in parse_qs(body).items()}
        expected = b64encode(f"service:{CLIENT_SECRET}".encode()).decode()
        if self.status != 200:
            return self.status, {"error": "server_error"}
        if authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        if form != {"grant_type": "client_credentials", "scope": "kafka"}:
            return 400, {"error": "invalid_request"}
        return 200, {"access_token": self.token(), "expires_in": self.lifetime_s}

    def token(self) -> str:
        now = time.time()
        claims = {"sub": "service", "iat": int(now), "exp": int(now + self.lifetime_s)}
        claims |= {"aud": self.audience, "scope": "kafka", "iss": _ISSUER}
        signed = f"{_part({'alg': 'RS256', 'kid': '1', 'typ': 'JWT'})}.{_part(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _number(number: int) -> str:
    return _base64(number.to_bytes((number.bit_length() + 7) // 8))


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def exports(settings: dict[str, str]) -> dict[str, str]:
    """The environment variables of these settings."""
    return {f"LALAFO_{name.upper()}": value for name, value in settings.items()}


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """The running server and what its clients need."""

    server: KafkaServer
    certificates: Certificates
    tokens: TokenEndpoint

    def login(
        self, mechanism: str = "SCRAM-SHA-512", user: str = "alice", password: str = PASSWORD
    ) -> dict[str, str]:
        """The settings of a client of the listener LOGIN (SASL_SSL)."""
        return {
            "kafka_bootstrap": self.server.address("LOGIN"),
            "kafka_security_protocol": "SASL_SSL",
            "kafka_ssl_ca_location": self.certificates.ca,
            "kafka_sasl_mechanism": mechanism,
            "kafka_sasl_username": user,
            "kafka_sasl_password": password,
        }

    def token_login(self, secret: str = CLIENT_SECRET) -> dict[str, str]:
        """The same with OAUTHBEARER."""
        login = self.login()
        del login["kafka_sasl_username"], login["kafka_sasl_password"]
        return login | self.tokens.settings(secret)

    def mutual(self, name: str = "good") -> dict[str, str]:
        """The settings of a client of the listener MUTUAL (SSL)."""
        return {"kafka_bootstrap": self.server.address("MUTUAL"), **self.certificates.mutual(name)}

    def tls(self, listener: str) -> dict[str, str]:
        """The settings of a client of a listener for SSL, without a certificate."""
        return {
            "kafka_bootstrap": self.server.address(listener),
            "kafka_security_protocol": "SSL",
            "kafka_ssl_ca_location": self.certificates.ca,
        }

    def set_password(self, user: str, password: str) -> None:
        """Set a user's password for SCRAM."""
        from kafka import KafkaAdminClient
        from kafka.admin import UserScramCredentialUpsertion

        admin = KafkaAdminClient(bootstrap_servers=self.server.bootstrap)
        try:
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                upsertion = UserScramCredentialUpsertion(user, mechanism, password)
                results = admin.alter_user_scram_credentials([upsertion])
                assert set(results.values()) == {None}, results
        finally:
            admin.close()

    def allow(self, user: str, *grants: tuple[str, str]) -> None:
        """Add ACLs: (topic, operation)."""
        from kafka import KafkaAdminClient
        from kafka.admin import (
            ACL,
            ACLOperation,
            ACLPermissionType,
            ResourcePattern,
            ResourceType,
        )

        admin = KafkaAdminClient(bootstrap_servers=self.server.bootstrap)
        try:
            done = admin.create_acls(
                [
                    ACL(
                        principal=f"User:{user}",
                        host="*",
                        operation=ACLOperation[operation],
                        permission_type=ACLPermissionType.ALLOW,
                        resource_pattern=ResourcePattern(ResourceType.TOPIC, topic),
                    )
                    for topic, operation in grants
                ]
            )
            assert done["failed"] == [], done
        finally:
            admin.close()


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """Start the server with its users; stop it on exit."""
    certificates = make_certificates(folder / "certificates")
    keys_file = folder / "jwks.json"
    tokens = TokenEndpoint(keys_file)
    server = KafkaServer(
        folder / "kafka",
        listeners=_listeners(certificates, keys_file),
        settings={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:alice;User:a=b,c;User:rotated;User:service;"
            "User:lalafo",
        },
        java_options=[
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file:{keys_file}",
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={keys_file}",
        ],
    )
    try:
        server.start()
        secured = SecuredKafka(server, certificates, tokens)
        for user in USERS:
            secured.set_password(user, PASSWORD)
        yield secured
    finally:
        server.stop()
        tokens.close()


def _listeners(certificates: Certificates, keys_file: Path) -> list[Listener]:
    folder = certificates.folder
    plain = f'{_JAAS}.plain.PlainLoginModule required user_alice="{PASSWORD}";'
    scram = f"{_JAAS}.scram.ScramLoginModule required;"
    login = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "plain.sasl.jaas.config": plain,
        "scram-sha-256.sasl.jaas.config": scram,
        "scram-sha-512.sasl.jaas.config": scram,
        "oauthbearer.sasl.jaas.config": f"{_JAAS}.oauthbearer.OAuthBearerLoginModule required;",
        "oauthbearer.sasl.server.callback.handler.class": f"{_JAAS}.oauthbearer."
        "OAuthBearerValidatorCallbackHandler",
        "oauthbearer.sasl.oauthbearer.jwks.endpoint.url": f"file:{keys_file}",
        "oauthbearer.sasl.oauthbearer.expected.audience": _AUDIENCE,
        "oauthbearer.sasl.oauthbearer.expected.issuer": _ISSUER,
        "oauthbearer.connections.max.reauth.ms": "3600000",
    }
    no_reauth = {"sasl.enabled.mechanisms": "SCRAM-SHA-512"}
    short = {"scram-sha-512.connections.max.reauth.ms": "1500"}
    return [
        Listener("LOGIN", "SASL_SSL", {**_tls(folder / "server.pem"), **login}),
        Listener(
            "PLAINLOGIN",
            "SASL_PLAINTEXT",
            {**no_reauth, **short, "scram-sha-512.sasl.jaas.config": scram},
        ),
        Listener(
            "MUTUAL",
            "SSL",
            {
                **_tls(folder / "server.pem"),
                "ssl.client.auth": "required",
                "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": certificates.ca,
            },
        ),
        Listener("EXPIRED", "SSL", _tls(folder / "expired.pem")),
        Listener("ELSEWHERE", "SSL", _tls(folder / "elsewhere.pem")),
    ]


def _tls(keystore: Path) -> dict[str, str]:
    return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(keystore)}
