"""All stores on a real server of S3's protocol: what is stored comes back, and faults are named."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import fsspec
import httpx
import numpy as np
import pytest
from s3fs import S3FileSystem

from lalafo_assets.demo.photo_host import PhotoHost
from ops.errors import ConfigurationError, LalafoError, RetryableError, StoredObjectError
from ops.models.release import Release
from ops.training.dataset import SplitRule, TrainingSet
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import load_settings
from resources.storage import photos
from resources.storage.stores import Stores, try_store
from tests.conftest import BrokerUnderTest
from tests.support import odd_photos as odd
from tests.support.gateway_live import live_gateway
from tests.support.live_session import live_parts
from tests.support.s3.faults import Front, closing, delaying, refusing
from tests.support.s3.server import KEY, SECRET, S3Server, why_unavailable
from tests.support.working_sessions import Working, until
from tests.unit.ops.models.test_release import a_release

DATA = b"a rendition" * 1000
NAME = sha256(DATA).digest()
SET = TrainingSet(backbone="b", rule=SplitRule(), examples=())
SLOW_DOWN = refusing(503, "SlowDown", "Please reduce your request rate.")


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server; if Java or Maven is missing, skips the test, or fails if Kafka is required."""
    reason = why_unavailable()
    if reason is not None:
        if os.environ.get("LALAFO_REQUIRE_KAFKA") == "1":
            pytest.fail(f"LALAFO_REQUIRE_KAFKA=1, but {reason}")
        pytest.skip(reason)
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def front(s3_server: S3Server) -> Iterator[Front]:
    """A front before the server."""
    with Front(s3_server.port) as front:
        yield front


@pytest.fixture
def bucket(s3_server: S3Server) -> Path:
    """The folder of an empty bucket."""
    return s3_server.make_bucket(f"photos-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def environment(
    s3_server: S3Server, front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a client of the server, through the front."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "FSSPEC_", "LALAFO_STORE")):
            monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{front.port}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    yield monkeypatch
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def url(environment: pytest.MonkeyPatch, bucket: Path) -> str:
    return f"s3://{bucket.name}/lalafo/prod"


@pytest.fixture
def stores(url: str) -> Stores:
    return Stores.of(url)


def objects_in(bucket: Path) -> list[str]:
    return sorted(str(p.relative_to(bucket)) for p in bucket.rglob("*") if p.is_file())


def test_photos_are_stored_and_deleted(stores: Stores, bucket: Path, tmp_path: Path) -> None:
    """By their SHA-256, at the URL that the store names; a repeated call changes nothing."""
    store = stores.photos
    assert not store.exists("renditions", NAME)
    with pytest.raises(StoredObjectError, match="missing from the store"):
        store.get("renditions", NAME)
    for _ in range(2):
        store.put("renditions", NAME, DATA)
    assert store.get("renditions", NAME) == DATA
    assert store.size("renditions", NAME) == len(DATA)
    digest = NAME.hex()
    key = f"lalafo/prod/renditions/{digest[:2]}/{digest[2:4]}/{digest}.jpg"
    assert objects_in(bucket) == [key]
    assert store.url("renditions", NAME) == f"s3://{bucket.name}/{key}"
    assert not store.exists("thumbnails", NAME)
    assert not store.delete("renditions", NAME, unless_put_within_s=3600)
    assert store.delete("renditions", NAME)
    assert store.delete("renditions", NAME)
    assert not store.exists("renditions", NAME) and objects_in(bucket) == []
    (tmp_path / "sent").write_bytes(DATA * 100)
    name = sha256(DATA * 100).digest()
    with (tmp_path / "sent").open("rb") as file:
        for _ in range(2):
            assert store.put_file("uploads", name, file) == len(DATA) * 100
    assert store.get("uploads", name) == DATA * 100


def test_a_damaged_photo_is_not_returned(stores: Stores, bucket: Path) -> None:
    """The message names it."""
    stores.photos.put("renditions", NAME, DATA)
    (bucket / objects_in(bucket)[0]).write_bytes(DATA[:-1])
    with pytest.raises(StoredObjectError, match="is damaged"):
        stores.photos.get("renditions", NAME)
    stores.photos.put("renditions", NAME, DATA)
    assert stores.photos.get("renditions", NAME) == DATA


def test_releases_are_saved_listed_and_loaded(stores: Stores, bucket: Path) -> None:
    """No temporary object is left, a repeated save changes nothing, and damage is repaired."""
    release = a_release()
    assert stores.releases.list() == ()
    for _ in range(2):
        manifest = stores.releases.save(release)
    folder = f"lalafo/prod/releases/{manifest.digest}"
    files = ["backbone.safetensors", "heads.safetensors", "manifest.json"]
    assert objects_in(bucket) == [f"{folder}/{name}" for name in files]
    assert stores.releases.list() == (manifest.digest,)
    (bucket / folder / "backbone.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match="damaged or altered"):
        stores.releases.load(manifest.digest)
    stores.releases.save(release)
    loaded = stores.releases.load(manifest.digest)
    assert loaded.manifest == release.manifest
    for name, array in release.backbone_state.items():
        assert np.array_equal(loaded.backbone_state[name], array)
    with pytest.raises(ConfigurationError, match="is not in the store"):
        stores.releases.load("0" * 64)


def test_training_sets_are_saved_and_loaded(stores: Stores) -> None:
    """By their digest."""
    digest = stores.training.save(SET)
    assert stores.training.load(digest) == SET
    with pytest.raises(ConfigurationError, match="is not in the store"):
        stores.training.load("0" * 64)


def test_another_process_reads_what_the_environment_names(url: str, bucket: Path) -> None:
    """LALAFO_STORE_URL and AWS_… alone lead every process to the same objects."""
    code = """
import sys
from hashlib import sha256
from ops.training.dataset import SplitRule, TrainingSet
from resources.settings import load_settings
from resources.storage.stores import Stores
store = Stores.of(load_settings().resolved_store_url).photos
data = b"from another process"
store.put("uploads", sha256(data).digest(), data)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(photos.__file__).parents[2],
        env={**os.environ, "LALAFO_STORE_URL": url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    data = b"from another process"
    assert Stores.of(url).photos.get("uploads", sha256(data).digest()) == data


Call = Callable[[Stores], object]
CALLS: dict[str, Call] = {
    "put": lambda stores: stores.photos.put("renditions", NAME, DATA),
    "get": lambda stores: stores.photos.get("renditions", NAME),
    "size": lambda stores: stores.photos.size("renditions", NAME),
    "delete": lambda stores: stores.photos.delete("renditions", NAME),
    "save a release": lambda stores: stores.releases.save(a_release()),
    "load a release": lambda stores: stores.releases.load(a_release().manifest.digest),
    "list releases": lambda stores: stores.releases.list(),
    "save a set": lambda stores: stores.training.save(SET),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
put_or_save = pytest.mark.parametrize("call", [CALLS["put"], CALLS["save a release"]])
FAULTS = {
    "500": refusing(500, "InternalError"),
    "503": refusing(503, "ServiceUnavailable"),
    "closed": closing,
}


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        *((call, SLOW_DOWN) for call in CALLS.values()),
        *((CALLS["put"], f) for f in FAULTS.values()),
    ],
    ids=[*CALLS, *FAULTS],
)
def test_a_fault_that_passes_is_not_seen(
    stores: Stores, front: Front, call: Call, fault: Callable[..., bool]
) -> None:
    """The request is sent again, after a wait, and succeeds."""
    stores.photos.put("renditions", NAME, DATA)
    stores.releases.save(a_release())
    front.requests.clear()
    front.faults = [fault]
    call(stores)
    assert front.requests[0] == front.requests[1]


@put_or_save
def test_a_store_that_stays_busy_is_an_outage(stores: Stores, front: Front, call: Call) -> None:
    """A bounded number of attempts; the error says what the server said, and can be retried."""
    front.fault = SLOW_DOWN
    with pytest.raises(RetryableError, match="LALAFO_STORE_URL: the store is unavailable"):
        call(stores)
    assert 2 <= len(front.requests) <= 4


def test_a_slow_answer_is_waited_for(stores: Stores, front: Front) -> None:
    """Below the time limit; nothing is sent twice."""
    front.fault = delaying(0.3)
    stores.photos.put("renditions", NAME, DATA)
    assert stores.photos.get("renditions", NAME) == DATA
    assert len([request for request in front.requests if request.startswith("PUT")]) == 1


def test_a_frozen_server_is_an_outage(
    url: str, front: Front, environment: pytest.MonkeyPatch
) -> None:
    """Each attempt has a time limit, which FSSPEC_S3 can change."""
    s3 = {"config_kwargs": {"read_timeout": 0.2, "retries": {"total_max_attempts": 1}}}
    environment.setitem(fsspec.config.conf, "s3", s3)
    front.fault = front.freezing
    with pytest.raises(RetryableError, match="LALAFO_STORE_URL: the store is unavailable"):
        Stores.of(url).photos.put("renditions", NAME, DATA)
    assert len(front.requests) == 2


def test_the_default_time_limits_are_bounded(stores: Stores) -> None:
    """Seconds for a connection and for an answer, times all attempts: less than a minute."""
    filesystem = stores.releases._fs
    filesystem.connect()
    config = filesystem.s3.meta.config
    attempts = filesystem.retries * config.retries["total_max_attempts"]
    assert attempts * (config.connect_timeout + config.read_timeout) <= 60


@put_or_save
def test_a_server_that_is_down_is_an_outage(
    url: str, environment: pytest.MonkeyPatch, call: Call
) -> None:
    """Nothing listens there."""
    environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RetryableError, match="LALAFO_STORE_URL: the store is unavailable"):
        call(Stores.of(url))


def one_clear_line(error: LalafoError, *words: str) -> None:
    text = str(error)
    assert text.startswith("LALAFO_STORE_URL: ") and "\n" not in text and len(text) < 500
    assert SECRET not in text and "wrong-secret" not in text
    assert [word for word in words if word not in text] == []


@every_call
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_a_wrong_setting(
    url: str, environment: pytest.MonkeyPatch, call: Call, name: str
) -> None:
    """One line says that access was denied, where, and which variables to check."""
    environment.setenv(name, "wrong-secret")
    with pytest.raises(ConfigurationError) as caught:
        call(Stores.of(url))
    one_clear_line(caught.value, f"access to {url}", "was denied", "AWS_SECRET_ACCESS_KEY")


@every_call
def test_missing_credentials_are_a_wrong_setting(
    url: str, environment: pytest.MonkeyPatch, call: Call
) -> None:
    """They are not waited for."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigurationError) as caught:
        call(Stores.of(url))
    one_clear_line(caught.value, url, "credentials")


@pytest.mark.parametrize("name", ["put", "get", "save a release", "save a set"])
def test_a_missing_bucket_is_named_and_not_created(
    environment: pytest.MonkeyPatch, s3_server: S3Server, name: str
) -> None:
    """A person must create it, with the right settings."""
    with pytest.raises(ConfigurationError) as caught:
        CALLS[name](Stores.of("s3://no-such-bucket/lalafo"))
    one_clear_line(caught.value, "s3://no-such-bucket/lalafo", "does not exist", "Create it")
    assert not (s3_server.data / "no-such-bucket").exists()


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://photos/lalafo", "127.0.0.1:9000"),
        ("s3://not_a_bucket!/lalafo", "http://127.0.0.1:9"),
    ],
)
def test_an_impossible_setting_is_not_retried(
    environment: pytest.MonkeyPatch, url: str, endpoint: str
) -> None:
    """An endpoint without a scheme, and a name that no bucket can have."""
    environment.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigurationError) as caught:
        Stores.of(url).photos.put("renditions", NAME, DATA)
    one_clear_line(caught.value, "can't be used")


def test_a_store_can_be_tried(url: str, bucket: Path) -> None:
    """It writes, reads and deletes an object, and leaves nothing."""
    try_store(url)
    assert objects_in(bucket) == []


def test_the_doctor_tries_the_store(
    url: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A line with the store's URL; with wrong credentials, one that says so."""
    from lalafo_assets.commands.doctor import Diagnosis, Grade, diagnose_store

    environment.setenv("LALAFO_HOME", str(tmp_path))
    assert list(diagnose_store(load_settings())) == []
    environment.setenv("LALAFO_STORE_URL", url)
    assert list(diagnose_store(load_settings())) == [Diagnosis("store", Grade.OK, url)]
    S3FileSystem.clear_instance_cache()
    environment.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    (line,) = diagnose_store(load_settings())
    assert line.grade is Grade.FAILED and "was denied" in line.found and line.fix != ""
    assert json.dumps(line.found).count("wrong-secret") == 0


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_a_session_and_the_gateway_work_on_it(
    url: str,
    bucket: Path,
    front: Front,
    database: Database,
    broker: BrokerUnderTest,
    release: Release,
    tmp_path: Path,
) -> None:
    """A photo from an address and an upload are scored, while the store is busy now and then."""
    (tmp_path / "photos").mkdir()
    settings = broker.settings(
        home=tmp_path,
        store_url=url,
        database_url=database.url.render_as_string(),
        fetch_allow_private=True,
        gateway_auth="off",
        model_mode="eager",
    )
    with (
        PhotoHost(tmp_path / "photos") as host,
        AdStream.from_settings(settings) as stream,
        live_gateway(settings) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60) as client,
    ):
        live = live_parts(database, settings, stream, host, release)
        address = live.photo("1.jpg", odd.jpeg(odd.noisy(80, 60, 1)))
        with Working(live) as worker:
            until(lambda: worker.partitions)
            front.faults = [SLOW_DOWN]
            ad = {"catalog": "kg", "ad_id": "1", "photos": [{"url": address}]}
            assert client.post("/v1/ads", json=ad).status_code == 202
            upload = ("photo", ("2.png", odd.save(odd.noisy(80, 60, 2), "PNG"), "image/png"))
            form = {"ad": json.dumps({"catalog": "kg", "ad_id": "2"})}
            assert client.post("/v1/ads", data=form, files=[upload]).status_code == 202
            worker.wait_for(2)
        shown = [client.get(f"/v1/ads/kg/{ad_id}").json()["photos"][0] for ad_id in "12"]
        renditions = [client.get(photo["image"]) for photo in shown]
    assert [answer.status_code for answer in renditions] == [200, 200]
    assert live.rows("SELECT status, count(*) FROM lalafo.ads GROUP BY 1") == [("scored", 2)]
    kinds = Counter(name.split("/")[2] for name in objects_in(bucket))
    assert kinds == {"releases": 3, "renditions": 2, "uploads": 1}
    stored = {(bucket / name).read_bytes() for name in objects_in(bucket) if "renditions" in name}
    assert stored == {answer.content for answer in renditions}
