"""The exception classes of the project, and the reason codes for rejected events and photos.

    LalafoError
    ├── RetryableError         infrastructure is unavailable or busy: wait and retry
    ├── BadInputError          this event or photo can't be used; carries a Reason
    ├── ConfigurationError     a setting, file or release is wrong: a person must act
    ├── StoredObjectError      a stored object is missing or damaged: restore or fetch it again
    ├── LeaseLostError         another session owns the partition: commit nothing from it
    ├── NotReadyError          a precondition of the request is not met yet
    ├── ReleaseChangedError    the active releases changed: score again, then commit
    ├── PhotosGoneError        a photo was deleted in the meantime: load it again, then commit
    └── CircuitOpenError       every item fails at a stage, so the items are not at fault

A bad item becomes a failure row with its reason. Bad infrastructure raises an exception.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why an event or a photo could not be used. Stored in `failures.reason`: never rename one."""

    # events: the whole record is rejected and stored as a dead letter
    EVENT_EMPTY = "event_empty"
    EVENT_NOT_JSON = "event_not_json"
    EVENT_NOT_OBJECT = "event_not_object"
    EVENT_UNKNOWN_SCHEMA = "event_unknown_schema"
    EVENT_UNKNOWN_KIND = "event_unknown_kind"
    EVENT_MISSING_FIELD = "event_missing_field"
    EVENT_WRONG_TYPE = "event_wrong_type"
    EVENT_BAD_REVISION = "event_bad_revision"
    EVENT_TEXT_TOO_LONG = "event_text_too_long"
    EVENT_TOO_MANY_PHOTOS = "event_too_many_photos"
    EVENT_TOO_MANY_ATTRIBUTES = "event_too_many_attributes"
    EVENT_KEY_MISMATCH = "event_key_mismatch"

    # an event or a photo
    INTERNAL_ERROR = "internal_error"  # an exception that no stage expects; the detail says where

    # reading the topic
    QUARANTINED = "quarantined"  # sessions died while this record alone was in flight
    STREAM_OFFSET_OUT_OF_LOG = "stream_offset_out_of_log"
    STREAM_BATCH_UNREADABLE = "stream_batch_unreadable"
    STREAM_TOPIC_RECREATED = "stream_topic_recreated"

    # fetching a photo
    FETCH_BAD_URL = "fetch_bad_url"
    FETCH_ADDRESS_REFUSED = "fetch_address_refused"
    FETCH_UNREACHABLE = "fetch_unreachable"
    FETCH_TIMEOUT = "fetch_timeout"
    FETCH_TOO_LARGE = "fetch_too_large"
    FETCH_TOO_MANY_REDIRECTS = "fetch_too_many_redirects"
    FETCH_NOT_FOUND = "fetch_not_found"
    FETCH_HTTP_ERROR = "fetch_http_error"  # temporary: 5xx, 429 and similar
    FETCH_HTTP_REFUSED = "fetch_http_refused"  # permanent: 401, 403 and every other status
    FETCH_NOT_A_PHOTO = "fetch_not_a_photo"
    FETCH_UNKNOWN_SHA256 = "fetch_unknown_sha256"

    # decoding a photo
    PHOTO_EMPTY = "photo_empty"
    PHOTO_UNKNOWN_FORMAT = "photo_unknown_format"
    PHOTO_TRUNCATED = "photo_truncated"
    PHOTO_BROKEN = "photo_broken"
    PHOTO_TOO_LARGE = "photo_too_large"
    PHOTO_TOO_SMALL = "photo_too_small"


TEMPORARY_REASONS = frozenset(
    {Reason.FETCH_UNREACHABLE, Reason.FETCH_TIMEOUT, Reason.FETCH_HTTP_ERROR}
)
"""Reasons that may clear without a change: the day's `ad_photos` asset retries these photos."""


class LalafoError(Exception):
    """Base class. Catch it at a process's entry point, and a narrower class everywhere else."""


class RetryableError(LalafoError):
    """Infrastructure is unavailable or busy; the same call may succeed later."""


class ConfigurationError(LalafoError):
    """A setting, a file or a release is wrong; the message says what to do."""


class StoredObjectError(LalafoError):
    """A stored object is missing, or its bytes do not match the digest in its name."""


class LeaseLostError(LalafoError):
    """An epoch that the session commits under is no longer current; nothing was committed.

    Args:
        partitions: the partitions that another session has acquired.
    """

    def __init__(self, partitions: frozenset[int], detail: str) -> None:
        super().__init__(detail)
        self.partitions = partitions


class NotReadyError(LalafoError):
    """The request is rejected until something else is done; the message says what."""


class ReleaseChangedError(LalafoError):
    """The batch was scored under releases that are not the active ones; nothing was committed."""


class PhotosGoneError(LalafoError):
    """A stored photo that the batch refers to has been deleted; nothing was committed."""


class CircuitOpenError(LalafoError):
    """Many different items failed in a row with an internal error, and none passed."""


class BadInputError(LalafoError):
    """An event or a photo that can't be used.

    Args:
        reason: the stable code.
        detail: what was received and what was expected; never a secret, never image bytes.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    @property
    def temporary(self) -> bool:
        """Whether a retry of the same input may succeed later."""
        return self.reason in TEMPORARY_REASONS
