"""Streaming reader of multipart bodies: text fields go to memory, photos to temporary files.

Owns which parts a form may contain; unknown parts are refused. Uses python-multipart's parser chunk
by chunk, because starlette's form reader buffers a megabyte of each part in memory.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.problems import Problem
from gateway.uploads import Upload, body_chunks
from resources.settings import Settings

_MAX_NAME_CHARS = 60
_CODINGS = (b"content-transfer-encoding", b"content-encoding")
_NO_CODING = (b"", b"binary", b"8bit", b"7bit", b"identity")


@dataclass(slots=True)
class Form:
    """A received form: the fields, and the photos in order."""

    fields: dict[str, bytes] = field(default_factory=dict)
    photos: list[Upload] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FormRules:
    """The parts that a form may contain.

    Args:
        fields: names of the text parts, of at most `max_field_bytes` each.
        photos: names of the photo parts, at most `max_photos` in all.
    """

    fields: frozenset[str]
    photos: frozenset[str]
    max_field_bytes: int
    max_photo_bytes: int
    max_photos: int
    max_bytes: int

    @classmethod
    def of(cls, settings: Settings, *, fields: set[str], photos: set[str]) -> "FormRules":
        return cls(
            fields=frozenset(fields),
            photos=frozenset(photos),
            max_field_bytes=settings.max_json_bytes,
            max_photo_bytes=settings.max_photo_bytes,
            max_photos=settings.max_photos_per_ad,
            max_bytes=settings.max_upload_bytes,
        )


@asynccontextmanager
async def receive_form(request: Request, rules: FormRules) -> AsyncIterator[Form]:
    """Receive and check the form of a request; its files are deleted at the end of the `with`.

    Raises:
        Problem: the body is not a form, contains an unknown part, or a photo part is not a photo.
    """
    with ExitStack() as files:
        reader = _Reader(rules, files)
        parser = _parser(request, reader)
        received = 0
        async for chunk in body_chunks(request):
            received += len(chunk)
            if received > rules.max_bytes:
                raise Problem(
                    413,
                    "too_large",
                    f"the form has more than the {rules.max_bytes} bytes that are allowed",
                    allowed=rules.max_bytes,
                )
            try:
                parser.write(chunk)
            except FormParserError as error:
                raise _not_a_form(str(error)) from error
            await reader.process()
        if not reader.ended:
            raise _not_a_form("it ends before its last boundary")
        yield reader.form


def is_form(request: Request) -> bool:
    """Whether the request's Content-Type is multipart."""
    return request.headers.get("content-type", "").lower().startswith("multipart/")


def _parser(request: Request, reader: "_Reader") -> MultipartParser:
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _not_a_form("its Content-Type has no boundary")
    try:
        return MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type] # expects a TypedDict
    except FormParserError as error:
        raise _not_a_form(str(error)) from error


def _not_a_form(why: str) -> Problem:
    return Problem(400, "not_multipart", f"the body is not valid multipart/form-data: {why}")


class _Reader:
    """Collects the parser's callbacks, which can't await; `process` turns them into the form."""

    def __init__(self, rules: FormRules, files: ExitStack) -> None:
        self.form = Form()
        self.ended = False
        self._rules = rules
        self._files = files
        self._tokens: list[tuple[str, bytes]] = []  # kind, data
        self._header = [b"", b""]
        self._disposition = b""
        self._field: str | None = None
        self._value = bytearray()

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._tokens.append(("data", data[start:end])),
            "on_part_end": lambda: self._tokens.append(("end", b"")),
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": lambda: self._tokens.append(("part", self._disposition)),
            "on_end": self._end,
        }

    async def process(self) -> None:
        """Process the tokens that the parser found in the last chunk."""
        tokens, self._tokens = self._tokens, []
        for kind, data in tokens:
            if kind == "part":
                self._open(data)
            elif self._field is not None:
                self._fill(self._field, data, ended=kind == "end")
            elif kind == "data":
                await self.form.photos[-1].add(data)
            else:
                await self.form.photos[-1].finish()

    def _begin(self) -> None:
        self._disposition = b""

    def _add(self, part: int, data: bytes) -> None:
        self._header[part] += data

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        if name.lower() in _CODINGS and value.strip().lower() not in _NO_CODING:
            text = f"{name.decode('latin-1')}: {value[:40].decode('latin-1')}"
            raise Problem(
                415,
                "wrong_encoding",
                f"a part has {text!r}: send its bytes as they are (RFC 7578, 4.7)",
            )
        self._header = [b"", b""]

    def _end(self) -> None:
        self.ended = True

    def _open(self, disposition: bytes) -> None:
        _, options = parse_options_header(disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        self._field = None
        if name in self._rules.photos:
            self._open_photo(name)
        elif name in self.form.fields:
            raise Problem(422, "repeated_part", f"the form has two parts {name}, expected one")
        elif name in self._rules.fields:
            self._field, self._value = name, bytearray()
        else:
            known = ", ".join(sorted(self._rules.fields | self._rules.photos))
            raise Problem(
                422,
                "unknown_part",
                f"unknown part {name[:_MAX_NAME_CHARS]!r}; expected: {known}",
            )

    def _open_photo(self, name: str) -> None:
        number = len(self.form.photos)
        if number == self._rules.max_photos:
            raise Problem(
                422,
                "too_many_photos",
                f"the form has more than {number} photos, which is the limit of an ad",
                allowed=number,
            )
        upload = Upload(f"{name}[{number}]", self._rules.max_photo_bytes)
        self._files.callback(upload.close)
        self.form.photos.append(upload)

    def _fill(self, name: str, data: bytes, *, ended: bool) -> None:
        self._value += data
        if len(self._value) > self._rules.max_field_bytes:
            raise Problem(
                413,
                "too_large",
                f"part {name} has more than {self._rules.max_field_bytes} bytes",
                allowed=self._rules.max_field_bytes,
            )
        if ended:
            self.form.fields[name] = bytes(self._value)
