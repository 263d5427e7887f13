"""Certificates for TLS tests, made by the `openssl` program."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """A certificate authority, and a server's certificate that it signed."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, host: str = "localhost") -> Certificates:
    """Make them for a host name."""
    files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority_key, request = folder / "ca.key", folder / "server.csr"
    new = ["req", "-newkey", "rsa:2048", "-nodes", "-subj"]
    _openssl(
        *(*new, "/CN=test authority", "-x509", "-days", "2"),
        *("-keyout", authority_key, "-out", files.authority),
    )
    _openssl(*new, f"/CN={host}", "-keyout", files.key, "-out", request)
    extensions = folder / "names"
    extensions.write_text(f"subjectAltName=DNS:{host}\n")
    _openssl(
        *("x509", "-req", "-in", request, "-days", "2", "-extfile", extensions),
        *("-CA", files.authority, "-CAkey", authority_key, "-CAcreateserial"),
        *("-out", files.certificate),
    )
    return files


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
