"""Opens the file system of a store's URL, and raises its errors as LalafoErrors.

Owns what an error of a store means: unavailable for now, or to be corrected by a person. Settings
of the file system itself come from the environment, as fsspec and its packages read them (AWS_…,
FSSPEC_…). Does not depend on what is stored. Importing this module does not import fsspec.
"""

import contextlib
import errno
import re
from collections.abc import Iterator
from typing import Any

from ops.errors import ConfigurationError, LalafoError, RetryableError

SETTING = "LALAFO_STORE_URL"

S3_OPTIONS: dict[str, Any] = {
    # A frozen server costs 10 s in each of four attempts, not 15 s in each of 25.
    "connect_timeout": 5,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 2},
    # Other servers than Amazon's may not know its newer checksums; every object is verified by its
    # SHA-256 anyway.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
"""Options of botocore's client; FSSPEC_S3 can change them: `{"config_kwargs": {…}}`."""

_MAX_TEXT = 200  # some of botocore's texts contain the patterns that a name has to match
_S3_ATTEMPTS = 2  # of s3fs, each with botocore's own: for what breaks while a body is read
_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss"})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})
_WRONG = frozenset({errno.EINVAL, errno.ENOSYS, errno.EREMCHG, errno.ENAMETOOLONG})
_BROKEN_UPLOADS = frozenset({"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"})
# Errors of the clients themselves, by name: their packages are optional.
_MISCONFIGURED = frozenset(
    {
        "DefaultCredentialsError",
        "InvalidConfigError",
        "NoCredentialsError",
        "NoRegionError",
        "ParamValidationError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "UnauthorizedSSOTokenError",
    }
)
_S3_ACCESS = (
    ". Check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE), the "
    "clock, and that they may get, put, delete and list in this bucket"
)
_USER_INFO = re.compile(r"//[^/@]*@")


def open_filesystem(store_url: str, setting: str = SETTING) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path of the store in it.

    Args:
        setting: where the URL comes from, for messages.

    Raises:
        ConfigurationError: the protocol is unknown, or its package is not installed.
    """
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}
    is_s3 = store_url.startswith(("s3://", "s3a://"))
    if is_s3:
        given = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
        if not isinstance(given, dict):
            raise ConfigurationError('FSSPEC_S3: expected JSON like {"config_kwargs": {…}}')
        options["config_kwargs"] = {**S3_OPTIONS, **given}
    try:
        filesystem, root = fsspec.core.url_to_fs(store_url, **options)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"{setting}={shown(store_url)}: {one_line(error)}") from error
    if is_s3:
        filesystem.retries = _S3_ATTEMPTS
    return filesystem, root


def is_local(filesystem: Any) -> bool:
    """Whether it is the file system of this machine."""
    return bool(_protocols(filesystem)[0] == "file")


def has_folders(filesystem: Any) -> bool:
    """Whether folders must be created; elsewhere fsspec would create a missing bucket instead."""
    return _BUCKETS.isdisjoint(_protocols(filesystem))


@contextlib.contextmanager
def store_errors(where: str, setting: str = SETTING) -> Iterator[None]:
    """Raise the errors of file systems as LalafoErrors, except FileNotFoundError.

    Args:
        where: the object's URL, for the message.
        setting: where the URL comes from, for the message.

    Raises:
        ConfigurationError: access is denied, the bucket is missing, or a setting is wrong.
        RetryableError: the store is unavailable or full.
        FileNotFoundError: there is no such object.
    """
    try:
        yield
    except LalafoError:
        raise
    except FileNotFoundError as error:
        if _code_of(error) == "NoSuchBucket":
            raise missing_bucket(where, setting) from error
        raise
    except Exception as error:  # each backend raises its own errors: botocore, aiohttp, gcsfs …
        raise _meaning(error, shown(where), setting) from error


def missing_bucket(where: str, setting: str = SETTING) -> ConfigurationError:
    """The error for a bucket, or a root folder, that a person must create."""
    return ConfigurationError(
        f"{setting}: the bucket or folder of {shown(where)} does not exist. Create it, with the "
        "settings that it should have, or correct the URL."
    )


def shown(url: str) -> str:
    """The URL without user and password, for messages."""
    return _USER_INFO.sub("//***@", url, count=1)


def one_line(error: BaseException) -> str:
    """The beginning of the error's text in one line, without passwords in URLs."""
    text = " ".join(str(error)[:_MAX_TEXT].split())
    return _USER_INFO.sub("//***@", text)


def _meaning(error: Exception, where: str, setting: str) -> LalafoError:
    number = error.errno if isinstance(error, OSError) else None
    text = one_line(error)
    if number in _DENIED or isinstance(error, PermissionError):
        reason = (error.strerror if isinstance(error, OSError) else None) or text
        advice = _S3_ACCESS if where.startswith(("s3://", "s3a://")) else ""
        return ConfigurationError(f"{setting}: access to {where} was denied ({reason}){advice}.")
    code = _code_of(error)
    wrong = code is not None and number in _WRONG and code not in _BROKEN_UPLOADS
    if wrong or type(error).__name__ in _MISCONFIGURED or isinstance(error, ValueError):
        name = type(error).__name__ if code is None else code
        return ConfigurationError(f"{setting}: {where} can't be used ({name}: {text}).")
    if isinstance(error, OSError):
        return RetryableError(f"{setting}: the store is unavailable or full ({text})")
    return RetryableError(f"{setting}: the store is unavailable ({type(error).__name__}: {text})")


def _code_of(error: BaseException) -> str | None:
    """The code in S3's answer, such as NoSuchBucket; s3fs chains it below its own error."""
    response = getattr(error.__cause__, "response", None)
    if not isinstance(response, dict):
        return None
    code = response.get("Error", {}).get("Code")
    return None if code is None else str(code)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
