"""Opening a store's file system: what a wrong setting says, and what it never says."""

import fsspec
import pytest

from ops.errors import ConfigurationError, RetryableError
from resources.storage.filesystems import has_folders, open_filesystem, shown, store_errors


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("sftp://user:secret@host/path", "sftp://***@host/path"),
        ("ftp://secret@host", "ftp://***@host"),
        ("/a/folder@home", "/a/folder@home"),
    ],
)
def test_a_password_in_a_url_is_not_shown(url: str, text: str) -> None:
    """User and password are left out of messages."""
    assert shown(url) == text


def test_an_unknown_protocol_is_named_without_its_password() -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match="LALAFO_STORE_URL=nope://") as caught:
        open_filesystem("nope://user:secret@host/path")
    assert "secret" not in str(caught.value)


def test_a_password_in_an_error_is_not_shown() -> None:
    """Neither that of the store's URL nor one in the text of its client."""
    url = "sftp://user:secret@host/path"
    with pytest.raises(RetryableError) as caught, store_errors(url):
        raise OSError(f"{url}:\nno connection")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_no_folder_is_made_in_a_bucket() -> None:
    """fsspec would create the bucket, with settings that nobody chose."""
    assert not has_folders(open_filesystem("s3://bucket/prefix")[0])
    assert has_folders(open_filesystem("memory://prefix")[0])
    assert has_folders(open_filesystem("/tmp")[0])


def test_options_of_the_environment_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """FSSPEC_S3 replaces single options; the others keep the project's values."""
    given = {"config_kwargs": {"read_timeout": 3}}
    monkeypatch.setitem(fsspec.config.conf, "s3", given)
    options = open_filesystem("s3://bucket/prefix")[0].config_kwargs
    assert (options["read_timeout"], options["connect_timeout"]) == (3, 5)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": "read_timeout"})
    with pytest.raises(ConfigurationError, match="FSSPEC_S3"):
        open_filesystem("s3://bucket/prefix")
