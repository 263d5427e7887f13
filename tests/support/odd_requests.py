"""Thousands of malformed or unusual requests, each with the statuses that are correct for it.

The same seed gives the same requests. There is one function per kind of request. Some requests are
valid: an id such as `../../etc/passwd` is an id like any other.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PHOTO = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + bytes(200)
MAX_JSON_BYTES = 1_000_000

UNCLOSED = 0  # an expected "status": the connection ends without a response


@dataclass(frozen=True, slots=True)
class Odd:
    """A request, and the statuses that are allowed in response."""

    kind: str
    expected: frozenset[int]
    method: str = "POST"
    path: str = "/v1/ads"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    raw_length: bool = True  # add the correct Content-Length
    with_key: bool = True
    cut: bool = False  # the client closes the connection before the body's end

    def wire(self, key: str) -> bytes:
        """The request as bytes."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: gateway"]
        if self.with_key:
            lines.append(f"Authorization: Bearer {key}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.raw_length and self.method != "GET":
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


Random = random.Random
Kind = Callable[[Random], Odd]

WRONG: dict[str, list[object]] = {
    "catalog": [None, 5, 1.5, True, [], {}, ["kg"], "", "a/b", "x" * 201],
    "ad_id": [None, 5, 1.5, True, [], {}, "", "x" * 201],
    "revision": ["5", 1.5, True, [], {}, -1, 2**63, 10**40, -(2**63)],
    "occurred_at": [[], {}, True, "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00"],
    "title": [5, 1.5, True, [], {}, "x" * 1_001],
    "description": [5, [], {}, "x" * 50_001],
    "category": [5, 1.5, True, [], {}, "x" * 201],
    "price": [True, [], {}, "much", "NaN", "Infinity", -1, 10**15, "1e400", "-0.01", "12,5"],
    "currency": [5, True, [], {}, "x" * 9],
    "seller": [5, True, [], {}, "x" * 129],
    "attributes": [
        *(
            5,
            True,
            "x",
            [],
            [5],
            {"area": "12"},
            {"area": True},
            {"area": [1]},
            {"area": {"m2": 1}},
        ),
        *({"": 1}, {"x" * 65: 1}, {"a\x00": 1}, {"area": 10**15}, {"area": 10**40}),
        {f"a{n}": n for n in range(33)},
    ],
    "photos": [
        *(5, True, {}, "x", [5], [None], [[]], [{}], [{"url": 5}], [{"sha256": "zz"}]),
        *([{"url": None, "sha256": None}], [{"url": "http://a/b.jpg", "sha256": "0" * 64}]),
        *([{"url": "http://a/" + "x" * 4_096}], [{"url": "http://a/b.jpg", "more": 1}]),
        [{"url": f"http://a/{n}.jpg"} for n in range(51)],
    ],
    "titel": ["a misspelt field"],
    "schema": [1],
}
TEXTS = ("catalog", "ad_id", "title", "description", "category", "currency", "seller")


def good(rng: Random, **changes: object) -> dict[str, object]:
    """A valid ad."""
    return {
        "catalog": "kg",
        "ad_id": f"odd-{rng.randrange(10**9)}",
        "title": "A blue chair",
        "category": "chair",
        "price": "1200.00",
        "photos": [{"url": "https://photos.example/1.jpg"}],
        **changes,
    }


def body(ad: object) -> bytes:
    """The ad as JSON."""
    return json.dumps(ad).encode()


def one_of(*statuses: int) -> frozenset[int]:
    """The allowed statuses."""
    return frozenset(statuses)


def valid(rng: Random) -> Odd:
    return Odd("valid", one_of(202), body=body(good(rng)))


def odd_but_valid(rng: Random) -> Odd:
    """Ids are arbitrary text without control characters and dot segments."""
    ids = ["/etc//passwd", "..", "%2f%00", "a/b/%2e%2e", "C:\\x", "' OR 1=1 --", "\u202e", "💺"]
    ad_id = f"{rng.choice(ids)}{rng.randrange(10**9)}"
    return Odd("odd but valid", one_of(202), body=body(good(rng, ad_id=ad_id)))


def unaddressable(rng: Random) -> Odd:
    """Ids that a client or a proxy would turn into another one's path."""
    name = rng.choice(["../../etc/passwd", "a/b/../c", "./x", "x\n", "\x85", "a\u2028b", "x/."])
    return Odd("unaddressable", one_of(422), body=body(good(rng, ad_id=name)))


def truncated(rng: Random) -> Odd:
    whole = body(good(rng))
    return Odd("truncated", one_of(422), body=whole[: rng.randrange(len(whole))])


def wrong_type(rng: Random) -> Odd:
    name = rng.choice(list(WRONG))
    ad = good(rng, **{name: rng.choice(WRONG[name])})
    return Odd(f"wrong {name}", one_of(422), body=body(ad))


def missing(rng: Random) -> Odd:
    ad = good(rng)
    del ad[rng.choice(["catalog", "ad_id"])]
    return Odd("missing", one_of(422), body=body(ad))


def no_object(rng: Random) -> Odd:
    return Odd("no object", one_of(422), body=body(rng.choice([None, 1, "x", [], [{}], True])))


def odd_number(rng: Random) -> Odd:
    """Numbers beyond every type, in numeric fields and in others."""
    number = rng.choice(
        ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e999999999", "9" * 5_000, "-" * 3]
    )
    name = rng.choice(["revision", "price", "title", "photos"])
    text = json.dumps(good(rng, **{name: "@"})).replace('"@"', number)
    return Odd("odd number", one_of(422), body=text.encode())


def tiny_price(rng: Random) -> Odd:
    """A valid price that is rounded to 0.00."""
    text = json.dumps(good(rng, price="@")).replace('"@"', "1e-400")
    return Odd("tiny price", one_of(202), body=text.encode())


def nested(rng: Random) -> Odd:
    deep = rng.choice([100, 1_000, 20_000])
    opened, closed = rng.choice([("[", "]"), ('{"a":', "}"), ('{"photos":[', "]}")])
    end = closed * deep if rng.random() < 0.5 else ""
    return Odd("nested", one_of(422), body=(opened * deep + "1" + end).encode())


def invalid_utf8(rng: Random) -> Odd:
    text = body(good(rng, title="@")).replace(b"@", rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80"]))
    return Odd("invalid UTF-8", one_of(422), body=text)


def noise(rng: Random) -> Odd:
    return Odd("noise", one_of(422), body=rng.randbytes(rng.randrange(1, 400)))


def nul(rng: Random) -> Odd:
    return Odd("NUL", one_of(422), body=body(good(rng, **{rng.choice(TEXTS): "a\x00b"})))


def raw_nul(rng: Random) -> Odd:
    whole = bytearray(body(good(rng)))
    whole.insert(rng.randrange(len(whole)), 0)
    return Odd("raw NUL", one_of(422), body=bytes(whole))


def surrogate(rng: Random) -> Odd:
    half = rng.choice(["\ud800", "\udfff", "\udc00\ud800"])
    return Odd("surrogate", one_of(422), body=body(good(rng, **{rng.choice(TEXTS): half})))


def giant_key(rng: Random) -> Odd:
    ad = good(rng, **{"k" * rng.choice([1_000, 100_000]): 1})
    return Odd("giant key", one_of(422), body=body(ad))


def many_keys(rng: Random) -> Odd:
    more: dict[str, object] = {f"k{n}": n for n in range(rng.choice([100, 3_000]))}
    return Odd("many keys", one_of(422), body=body(good(rng, **more)))


def too_large(rng: Random) -> Odd:
    """Detected by Content-Length, or while it is received; then the connection may end too."""
    large = b" " * (MAX_JSON_BYTES + rng.randrange(1, 1_000))
    if rng.random() < 0.5:
        return Odd("too large", one_of(413), body=large)
    chunks = b"%x\r\n" % len(large) + large + b"\r\n0\r\n\r\n"
    return Odd("too large in chunks", one_of(413), body=chunks, headers=CHUNKED, raw_length=False)


CHUNKED = (("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))


def other_type(rng: Random) -> Odd:
    """The Content-Type is ignored: the body is parsed as JSON."""
    kinds = ["text/plain", "application/xml", "", "image/jpeg", "application/x-www-form-urlencoded"]
    headers = (("Content-Type", rng.choice(kinds)),)
    return Odd("other type", one_of(202), body=body(good(rng)), headers=headers)


def broken_form(rng: Random) -> Odd:
    """Boundaries that are missing or wrong, and bodies without the final one."""
    part = b'--x\r\nContent-Disposition: form-data; name="ad"\r\n\r\n' + body(good(rng))
    boundary, data = rng.choice(
        [
            ("", part + b"\r\n--x--\r\n"),
            ("; boundary=", part + b"\r\n--x--\r\n"),
            ("; boundary=y", part + b"\r\n--x--\r\n"),
            ("; boundary=x", part),
            ("; boundary=x", part + b"\r\n--x"),
            ("; boundary=x", b""),
            ("; boundary=x", b"--x\r\nno header at all\r\n\r\n\r\n--x--\r\n"),
            ("; boundary=x", b"--x\r\n" + bytes([rng.randrange(1, 32)]) * 9 + b": 1\r\n\r\n"),
        ]
    )
    headers = (("Content-Type", f"multipart/form-data{boundary}"),)
    return Odd("broken form", one_of(400), body=data, headers=headers)


def form(rng: Random) -> Odd:
    """Complete forms with unusual parts, and valid ones."""
    ad = body(good(rng))
    parts, expected = rng.choice(
        [
            ([("ad", ad)], 202),
            ([("ad", ad), ("photo", PHOTO + rng.randbytes(4))], 202),
            ([("ad", b"")], 422),
            ([("ad", ad[:-1])], 422),
            ([("ad", ad), ("photo", b"")], 422),
            ([("photo", PHOTO)], 422),
            ([("ad", ad), ("../../etc/passwd", b"x")], 422),
            ([("ad", ad), ("photo", b"%PDF-1.4 no photo at all")], 415),
            ([("ad", ad), ("photo", b"<html>")], 415),
        ]
    )
    name = rng.choice(["1.jpg", "../../../etc/passwd", "%00.jpg", "x" * 500])
    data = b"".join(
        f'--x\r\nContent-Disposition: form-data; name="{part}"; filename="{name}"\r\n\r\n'.encode()
        + value
        + b"\r\n"
        for part, value in parts
    )
    headers = (("Content-Type", "multipart/form-data; boundary=x"),)
    return Odd(f"form {expected}", one_of(expected), body=data + b"--x--\r\n", headers=headers)


def path_trick(rng: Random) -> Odd:
    """Names that would leave a folder if they were used as a path."""
    path, *expected = rng.choice(
        [
            ("/v1/ads/kg/../../../../etc/passwd", 422),
            ("/v1/ads/kg/..%2f..%2f..%2fetc%2fpasswd", 422),
            ("/v1/ads/%2e%2e/%2e%2e/etc/passwd", 422),
            ("/v1/ads/kg/%00", 422),
            ("/v1/ads/%00/1", 422),
            ("/v1/ads/kg/%ff%fe", 404),
            ("/v1/ads/kg/x%0A", 422),
            ("/v1/ads/kg/%C2%85x", 422),
            ("/v1/ads/a%2Fb/x", 422),
            ("/v1/ads%0A", 404),
            ("/healthz%0A", 404),
            ("/v1/ads/kg/x/%2e%2e/y", 422),
            ("/v1/ads/kg/" + "x" * 201, 422),
            ("/v1/ads/" + "x" * 5_000 + "/1", 422),
            ("/v1/ads/kg", 404),
            ("/v1/photos/../../etc/passwd", 404),
            ("/v1/photos/..%2f..%2f..%2fetc%2fpasswd", 404),
            ("/v1/photos/" + "0" * 63 + "%00", 422),
            ("/v1/photos/" + "G" * 64, 422),
            ("/page/../../../etc/passwd", 404),
            ("/page/..%2f..%2fauth.py", 404),
            ("/page/%2e%2e%2fauth.py", 404),
            ("/page/%00", 404),
            ("//etc/passwd", 404),
            ("/v1/openapi.json/../../x", 404),
        ]
    )
    return Odd("path trick", one_of(*expected), method="GET", path=path, headers=())


def odd_query(rng: Random) -> Odd:
    path = rng.choice(
        [
            *("/v1/ads?limit=0", "/v1/ads?limit=-1", "/v1/ads?limit=x", "/v1/ads?limit=1e9"),
            *("/v1/ads?cursor=%00", "/v1/ads?cursor=AAAA", "/v1/ads?cursor=" + "A" * 3_000),
            *("/v1/ads?status=x", "/v1/ads?since=yesterday", "/v1/ads?until=1", "/v1/ads?limit="),
            *("/v1/ads?catalog=", "/v1/ads?catalog=a%2fb", "/v1/ads?catalog=%00"),
            *(
                "/v1/ads?limit=1_0",
                "/v1/ads?limit=%2B5",
                "/v1/ads?limt=5",
                "/v1/ads?limit=5&limit=6",
            ),
            *("/v1/ads?catalog=%ff", "/v1/ads/kg/x?revision=1", "/v1/statistics?minutes=1.5"),
            *("/v1/failures?kind=x", "/v1/failures?reason=%27", "/v1/failures?limit=99999999999"),
        ]
    )
    return Odd("odd query", one_of(422), method="GET", path=path, headers=())


def odd_wait(rng: Random) -> Odd:
    wait = rng.choice(["-1", "nan", "inf", "1e999", "x", "", "0x1", "%00"])
    return Odd("odd wait", one_of(422), path=f"/v1/ads?wait={wait}", body=body(good(rng)))


def odd_feedback(rng: Random) -> Odd:
    feedback: dict[str, object] = {"label": "chair", "given_by": "me"}
    feedback[rng.choice(list(feedback))] = rng.choice([None, 5, [], {}, "", "x" * 201, "\x00"])
    path = f"/v1/ads/kg/odd-{rng.randrange(99)}/feedback"
    return Odd("odd feedback", one_of(422), path=path, body=body(feedback))


def original(rng: Random) -> Odd:
    """The original API's routes, with bodies that it never accepted."""
    content = rng.choice([{}, [], None, {"ad_id": []}, {"ad_id": "1", "images": 5}, {"ad_id": ""}])
    path = rng.choice(["/classify", "/v4/classify/add_images"])
    return Odd("original", one_of(422), path=path, body=body(content))


def odd_upload(rng: Random) -> Odd:
    data, expected = rng.choice(
        [(b"", 422), (b"GIF", 415), (b"<svg/>", 415), (rng.randbytes(300), 415), (b"MZ" * 99, 415)]
    )
    headers = (("Content-Type", rng.choice(["image/jpeg", "text/html", "x"])),)
    return Odd("odd upload", one_of(expected), path="/v1/photos", body=data, headers=headers)


def odd_header(rng: Random) -> Odd:
    """Headers with unusual or invalid values."""
    header, *expected = rng.choice(
        [
            (("Idempotency-Key", ""), 422),
            (("Idempotency-Key", "x" * 201), 422),
            (("Idempotency-Key", "\xe9"), 422),
            (("X-Request-ID", "'\";<script>" + "x" * 500), 202),
            (("Accept", "image/*;q=nonsense"), 202),
            (("Content-Encoding", "gzip"), 415),
            (("Content-Encoding", "identity"), 202),
            (("Cookie", "=;=;" * 500), 202),
            (("Range", "bytes=-1"), 202),
            (("Forwarded", "for=127.0.0.1"), 202),
            (("X-Junk", "x" * 60_000), 202),
            (("X Junk", "1"), 400),
            (("Content-Length", "abc"), 400),
            (("Content-Length", "-1"), 400),
            (("Content-Length", "1"), 400),
            (("Transfer-Encoding", "chunked"), 400),
        ]
    )
    headers = (("Content-Type", "application/json"), header)
    return Odd(f"header {header[0]}", one_of(*expected), body=body(good(rng)), headers=headers)


def odd_key(rng: Random) -> Odd:
    """Invalid keys, which are refused before the body is read."""
    key = rng.choice(
        [
            *("Bearer", "Bearer ", "Bearer x", "Bearer lv_a_b", "Basic YTpi", "bearer \xff"),
            "Bearer lv_000000000000_" + "x" * 43,
            "Bearer lv_" + "x" * 5_000,
        ]
    )
    headers = (("Content-Type", "application/json"), ("Authorization", key))
    sent = body(good(rng))
    return Odd("odd key", one_of(401), body=sent, headers=headers, with_key=False)


def other_method(rng: Random) -> Odd:
    method = rng.choice(["PUT", "PATCH", "TRACE", "OPTIONS"])
    path = rng.choice(["/v1/ads", "/v1/photos", "/v1/failures", "/healthz"])
    return Odd("other method", one_of(405), method=method, path=path, body=b"{}")


def no_http(rng: Random) -> Odd:
    method = rng.choice(["GE\x01T", "", "POST /v1/ads HTTP/9.9\r\nX:", "\x16\x03\x01"])
    return Odd("no HTTP", one_of(400), method=method, body=b"{}")


def cut_off(rng: Random) -> Odd:
    """Bodies that the client does not complete: it disconnects, so there is no response."""
    whole = body(good(rng))
    part = whole[: rng.randrange(1, len(whole))]
    kind = rng.choice(["length", "chunk", "chunks"])
    if kind == "length":
        headers = (("Content-Type", "application/json"), ("Content-Length", str(len(whole))))
        sent = part
    else:
        headers = CHUNKED
        sent = (
            b"%x\r\n" % len(whole) + part
            if kind == "chunk"
            else b"%x\r\n%s\r\n" % (len(part), part)
        )
    return Odd(
        *("cut off", one_of(UNCLOSED)),
        **{"body": sent, "headers": headers, "raw_length": False, "cut": True},
    )


KINDS: tuple[Kind, ...] = (
    *(
        valid,
        odd_but_valid,
        unaddressable,
        truncated,
        wrong_type,
        wrong_type,
        missing,
        no_object,
        odd_number,
    ),
    *(tiny_price, nested, invalid_utf8, noise, nul, raw_nul, surrogate, giant_key, many_keys),
    *(other_type, broken_form, form, path_trick, odd_query, odd_wait, odd_feedback, original),
    *(odd_upload, odd_header, odd_key, other_method, no_http, cut_off),
)


def odd_requests(count: int, *, seed: int) -> Iterator[Odd]:
    """Generate `count` requests of random kinds; every hundredth has a body that is too large."""
    rng = random.Random(seed)
    for number in range(count):
        yield too_large(rng) if number % 100 == 99 else rng.choice(KINDS)(rng)
