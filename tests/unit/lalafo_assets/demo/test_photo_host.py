"""The photo host serves its folder, misbehaves on request, and serves nothing else."""

import asyncio
import http.client
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lalafo_assets.demo.photo_host import PhotoHost, content_type_of, photo_bytes
from ops.errors import ConfigurationError

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    (photos / "dress").mkdir(parents=True)
    (photos / "a b.jpg").write_bytes(JPEG)
    (photos / "dress" / "1.jpg").write_bytes(JPEG + b"1")
    (tmp_path / "secret.txt").write_text("not yours")
    (photos / "link.jpg").symlink_to(tmp_path / "secret.txt")
    return photos


def get(host: PhotoHost, target: str, connection: http.client.HTTPConnection | None = None):
    own = connection is None
    connection = connection or http.client.HTTPConnection("127.0.0.1", host.port, timeout=5)
    connection.request("GET", target)
    response = connection.getresponse()
    body = response.read()
    if own:
        connection.close()
    return response.status, dict(response.getheaders()), body


def test_serves_files_by_name_also_from_class_folders_on_one_connection(folder: Path):
    with PhotoHost(folder) as host:
        connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=5)
        status, headers, body = get(host, "/photos/a%20b.jpg", connection)
        first_socket = connection.sock
        assert (status, headers["Content-Type"], body) == (200, "image/jpeg", JPEG)
        assert get(host, "/photos/dress/1.jpg", connection)[2] == JPEG + b"1"
        assert connection.sock is first_socket
        assert host.url("a b.jpg") == f"http://127.0.0.1:{host.port}/photos/a%20b.jpg"
        connection.close()


@pytest.mark.parametrize(
    "target",
    [
        "/photos/../secret.txt",
        "/photos/..%2fsecret.txt",
        "/photos/%2e%2e/secret.txt",
        "/photos/dress/../../secret.txt",
        "/photos//etc/passwd",
        "/photos/%2fetc%2fpasswd",
        "/photos/link.jpg",
        "/photos/dress",
        "/photos/nothing.jpg",
        "/photos/a%00b.jpg",
        "/slow/..%2fsecret.txt",
        "/secret.txt",
        "/",
    ],
)
def test_nothing_outside_of_the_folder_is_served(folder: Path, target: str):
    with PhotoHost(folder) as host:
        status, _, body = get(host, target)
    assert status in {400, 404}
    assert b"not yours" not in body and b"root" not in body


def test_names_that_leave_the_folder_are_missing(folder: Path):
    for name in ("../secret.txt", "/etc/passwd", "link.jpg", "dress/../../secret.txt", "a\0b"):
        assert photo_bytes(folder.resolve(), name) is None


def test_misbehaves_on_request(folder: Path):
    with PhotoHost(folder, drip_pause_s=0.05) as host:
        assert get(host, "/missing/a.jpg")[0] == 404
        assert get(host, "/error/a.jpg")[0] == 500
        status, headers, _ = get(host, "/redirect/a%20b.jpg")
        assert (status, headers["Location"]) == (302, "/photos/a%20b.jpg")
        status, headers, _ = get(host, "/loop/a.jpg")
        assert (status, headers["Location"]) == (302, "/loop/a.jpg")
        started = time.monotonic()
        assert get(host, "/slow/a%20b.jpg")[2] == JPEG
        assert time.monotonic() - started > 0.05 * (len(JPEG) // 64 - 1)


def test_content_type_follows_the_first_bytes():
    assert content_type_of(b"\x89PNG\r\n") == "image/png"
    assert content_type_of(b"<!DOCTYPE html>") == "text/html"
    assert content_type_of(b"") == "image/jpeg"


def test_listens_on_loopback_only_and_frees_its_port(folder: Path):
    host = PhotoHost(folder).start()
    with socket.create_connection(("127.0.0.1", host.port), timeout=5):
        pass
    host.stop()
    host.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", host.port), timeout=5)


def test_a_taken_port_and_a_missing_folder_are_named(folder: Path, tmp_path: Path):
    with PhotoHost(folder) as host, pytest.raises(ConfigurationError, match=str(host.port)):
        PhotoHost(folder, port=host.port).start()
    with pytest.raises(ConfigurationError, match="not a folder"):
        PhotoHost(tmp_path / "none")


def test_runs_as_a_module_and_prints_its_address(folder: Path):
    command = [sys.executable, "-m", "lalafo_assets.demo.photo_host", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            port = int(address.rsplit(":", 1)[1])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/photos/dress/1.jpg")
            assert connection.getresponse().read() == JPEG + b"1"
            connection.close()
        finally:
            process.terminate()
            process.wait(10)


def test_many_requests_at_once_are_answered(folder: Path):
    async def load(port: int) -> list[int]:
        import aiohttp

        async with aiohttp.ClientSession() as session:

            async def one() -> int:
                url = f"http://127.0.0.1:{port}/photos/dress/1.jpg"
                async with session.get(url) as response:
                    await response.read()
                    return response.status

            return await asyncio.gather(*(one() for _ in range(200)))

    with PhotoHost(folder) as host:
        assert set(asyncio.run(load(host.port))) == {200}


def test_a_named_photo_may_lie_behind_a_link(folder: Path) -> None:
    """A user's folder may consist of links: those names are served, and no other link."""
    (folder / "other.jpg").symlink_to(folder.parent / "secret.txt")
    with PhotoHost(folder, linked=["link.jpg"]) as host:
        assert get(host, "/photos/link.jpg")[2] == b"not yours"
        assert get(host, "/photos/other.jpg")[0] == 404
        assert get(host, "/photos/../secret.txt")[0] == 404
        assert host.url("dress/1.jpg").startswith(host.address)
