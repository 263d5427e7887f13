"""Photo URLs: which are refused, and which bytes a request sends for the others."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.errors import BadInputError, Reason
from resources.photos.urls import MAX_URL_CHARS, PhotoUrl, checked_url, redirect_url

BASE = PhotoUrl("http", "example.org", 8080, "/a/b?c")

UNCHANGED = [
    "/1.jpg",
    "/a%2Fb%3Alarge.jpg",
    "/photos%2f1.jpg",
    "/?sig=a%2Bb%2Fc%3D&k[]=1",
    "/1.jpg?X-Amz-Signature=0a&X-Amz-Credential=A%2F20260101%2Fus-east-1",
    "/doc%20%281%29.jpg",
    "/a+b.jpg?q=a+b%2B",
    "/%7Euser/~user/1.jpg",
    "/%d0%bf/%D0%9F.jpg",
    "/100%25%2520.jpg",
    "/1.jpg;size=large;v=1?a;b",
    "/1.jpg?",
    "/1.jpg??a?b",
    "/1.jpg?a=&&b",
    "//double//slash/",
    "/@v1/a:b/$&'()*+,;=!~-._",
    "/1.jpg?url=http://b.org/2.jpg&x=/../y/./z",
    "/%2e%2e/%2E/1.jpg",
    "/[1].jpg?a[b]=c%5Bd%5D",
    "/%41%3a%c3",
    "/1.jpg?%00%ff",
    "/.hidden/..jpg/a..b/...",
]


@pytest.mark.parametrize("target", UNCHANGED)
def test_allowed_characters_are_sent_as_they_came(target: str) -> None:
    """Nothing that a URL may contain is encoded, decoded, dropped or put in another case."""
    url = checked_url(f"https://photos.example{target}")
    assert url.target == target
    assert url.request.raw_path_qs == target


ENCODED = {
    "/\u043f\u0440.jpg": "/%D0%BF%D1%80.jpg",
    "/a b.jpg?c d": "/a%20b.jpg?c%20d",
    "/caf\u00e9%C3%A9": "/caf%C3%A9%C3%A9",
    '/"<>\\^`{|}': "/%22%3C%3E%5C%5E%60%7B%7C%7D",
    "/100%.jpg?%zz%4": "/100%25.jpg?%25zz%254",
    "/a\tb\nc\rd\x00e\x7f": "/a%09b%0Ac%0Dd%00e%7F",
    "/\U0001f600": "/%F0%9F%98%80",
    "": "/",
    "?a": "/?a",
    "/1.jpg#a?b": "/1.jpg",
    "/1.jpg?a#b#c": "/1.jpg?a",
    "/a/./b/../c.jpg": "/a/c.jpg",
    "/../../1.jpg": "/1.jpg",
    "/a/b/..": "/a/",
    "/a//../b/.": "/a/b/",
}


@pytest.mark.parametrize(("target", "sent"), ENCODED.items(), ids=map(ascii, ENCODED))
def test_only_what_no_url_may_contain_is_encoded(target: str, sent: str) -> None:
    """As UTF-8; no character is dropped but the fragment, and the dot segments are resolved."""
    assert checked_url(f"http://photos.example{target}").target == sent


HOSTS = {
    "http://Photos.Example": ("photos.example", 80, "photos.example"),
    "HTTPS://photos.example:443": ("photos.example", 443, "photos.example"),
    "http://photos.example:": ("photos.example", 80, "photos.example"),
    "http://photos.example:08080": ("photos.example", 8080, "photos.example:8080"),
    "https://photos.example:80": ("photos.example", 80, "photos.example:80"),
    "http://\u0444\u043e\u0442\u043e.\u0440\u0444": ("xn--n1aalg.xn--p1ai", 80, None),
    "http://xn--n1aalg.xn--p1ai": ("xn--n1aalg.xn--p1ai", 80, "xn--n1aalg.xn--p1ai"),
    "http://fa\u00df.de": ("xn--fa-hia.de", 80, "xn--fa-hia.de"),
    "http://xn--i-7iq.ws": ("xn--i-7iq.ws", 80, "xn--i-7iq.ws"),
    "http://photos\u3002example": ("photos.example", 80, "photos.example"),
    "http://my_bucket.s3.example": ("my_bucket.s3.example", 80, "my_bucket.s3.example"),
    "http://[2606:4700:0:0::1111]": ("2606:4700::1111", 80, "[2606:4700::1111]"),
    "http://[2606:4700::1111]:8080": ("2606:4700::1111", 8080, "[2606:4700::1111]:8080"),
    "http://8.8.8.8:80": ("8.8.8.8", 80, "8.8.8.8"),
    " \t\nhttp://photos.example\r\n ": ("photos.example", 80, "photos.example"),
}


@pytest.mark.parametrize(("url", "expected"), HOSTS.items(), ids=map(ascii, HOSTS))
def test_the_host_is_the_one_that_was_named(
    url: str, expected: tuple[str, int, str | None]
) -> None:
    """Names in ASCII and lower case; the Host header has a port only if it is not the default."""
    checked = checked_url(url)
    host, port, header = expected
    assert (checked.host, checked.port) == (host, port)
    assert checked.request.raw_host == host and checked.request.port == port
    assert checked.request.host_port_subcomponent == (host if header is None else header)


REFUSED = [
    "http://xn--a/1.jpg",
    "http://a.xn--a.org/1.jpg",
    "http://xn--a.1/1.jpg",
    "http://xn--\u00e9.org/",
    "http://XN--A/1.jpg",
    "http://xn--/1.jpg",
    "http://xn--99999999999/",
    "http://" + "a" * 64 + ".org/",
    "http://" + "\u00e9" * 60 + ".org/",
    "http://" + "a." * 127 + "org/",
    "http://a..org/",
    "http://.org/",
    "http://./",
    "http://e\u200bvil.example/",
    "http://a\u2100b.example/",
    "http://a\uff0fb.example/",
    "http://a%2eb.example/",
    "http://a\\b.example/",
    "http://a\x00b.example/",
    "http://a\nb.example/",
    "http://a\ud800.example/",
    "http://a\udcff.example/",
    "http://photos.example/\ud800",
    "http://photos.example/\udcff",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[::1/",
    "http://::1/",
    "http://[::1]]/",
    "http://a[::1]/",
    "http://[::1]a/",
    "http://[v1.a]/",
    "http://[127.0.0.1]/",
    "http://[]/",
    "http://a:80:80/",
    "http://a:+80/",
    "http://a:8_0/",
    "http://a:\uff18\uff10/",
    "http://a:-1/",
    "http://a: 80/",
    "http://a:65536/",
    "http://a:" + "9" * 5_000 + "/",
    "http://a:1023/",
    "http://@a/",
    "http://u@a/",
    "http://u:secret@a/",
    "http://a@[::1]:8080/",
    "http:a/1.jpg",
    "http:/a/1.jpg",
    "http:",
    "//a/1.jpg",
    "\ufeffhttp://a/",
    "h\u0442tp://a/",
    "http\n://a/",
    "http://a/" + "b" * MAX_URL_CHARS,
]


@pytest.mark.parametrize("url", REFUSED, ids=ascii)
def test_an_impossible_url_is_refused(url: str) -> None:
    """With FETCH_BAD_URL, and a message that does not repeat the URL."""
    with pytest.raises(BadInputError) as caught:
        checked_url(url)
    assert caught.value.reason is Reason.FETCH_BAD_URL
    assert len(caught.value.detail) < 100 and "secret" not in caught.value.detail


REDIRECTS = {
    b"/good/3\xf8.jpg": "http://example.org:8080/good/3%F8.jpg",
    b"/good/3\xc3\xb8.jpg": "http://example.org:8080/good/3%C3%B8.jpg",
    b"/a\xff\xc3\xa9%fF": "http://example.org:8080/a%FF%C3%A9%fF",
    b"/a b%20c.jpg": "http://example.org:8080/a%20b%20c.jpg",
    b"/a%2Fb?k[]=%2f": "http://example.org:8080/a%2Fb?k[]=%2f",
    b"2.jpg": "http://example.org:8080/a/2.jpg",
    b"./2.jpg?": "http://example.org:8080/a/2.jpg?",
    b"../2.jpg": "http://example.org:8080/2.jpg",
    b"?d=%2F": "http://example.org:8080/a/b?d=%2F",
    b"#f": "http://example.org:8080/a/b?c",
    b"/a:b": "http://example.org:8080/a:b",
    b"//b.org:8081/x": "http://b.org:8081/x",
    b"//B.org": "http://b.org:80/",
    b"https://b.org": "https://b.org:443/",
    b"\\\\b.org\\x": "http://example.org:8080/a/%5C%5Cb.org%5Cx",
    b" /x\t": "http://example.org:8080/x",
    "//\u0444.org/".encode(): "http://xn--t1a.org:80/",
}


@pytest.mark.parametrize(("location", "expected"), REDIRECTS.items(), ids=map(ascii, REDIRECTS))
def test_a_redirect_leads_where_its_bytes_say(location: bytes, expected: str) -> None:
    """Relative to the URL that was requested; other bytes than ASCII are encoded as they came."""
    url = redirect_url(location, BASE)
    host, port = url.host, url.port
    assert f"{url.scheme}://{host}:{port}{url.target}" == expected


@pytest.mark.parametrize(
    "location",
    [b"//\xf8.org/", b"http:x", b"b:x", b"file:///x", b"//a@b/", b"http://xn--a/", b"//", b"///x"],
    ids=ascii,
)
def test_an_impossible_redirect_is_refused(location: bytes) -> None:
    """As an impossible first URL is."""
    with pytest.raises(BadInputError) as caught:
        redirect_url(location, BASE)
    assert caught.value.reason is Reason.FETCH_BAD_URL


URL_PARTS = [
    *("http://", "https://", "//", "/", "a.org", "[::1]", "[fe80::1%25a]", ":80", ":8080", ":"),
    *("@", "?", "#", "%", "%2F", "..", ".", "xn--a", "xn--", "\u0444", "1", "\\", "\x00", "\udc80"),
]
TEXTS = st.lists(
    st.one_of(st.text(max_size=8), st.sampled_from(URL_PARTS), st.characters(codec=None)),
    max_size=8,
).map("".join)


def assert_can_be_requested(url: PhotoUrl) -> None:
    request = url.request
    assert url.scheme in ("http", "https")
    assert url.port in (80, 443) or 1024 <= url.port < 65_536
    assert url.target.isascii() and url.target.isprintable() and url.target[0] == "/"
    assert not set(url.target) & set(' "<>\\^`{|}#')
    assert request.raw_path_qs == url.target
    assert (request.raw_host, request.port, request.user) == (url.host, url.port, None)
    assert request.host and request.host_port_subcomponent


@given(TEXTS)
@example("http://xn--a/1.jpg")
@example("http://a.1./")
def test_any_text_is_a_url_or_a_bad_url(text: str) -> None:
    """Any text is a URL that can be requested as it is, or FETCH_BAD_URL."""
    for candidate in (text, f"http://{text}", f"http://a.org/{text}"):
        try:
            url = checked_url(candidate)
        except BadInputError as error:
            assert error.reason is Reason.FETCH_BAD_URL
        else:
            assert_can_be_requested(url)
            again = checked_url(str(url.request))
            assert (again.host, again.port) == (url.host, url.port)


@given(st.one_of(st.binary(max_size=40), TEXTS.map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_any_bytes_are_a_redirect_or_a_bad_url(location: bytes) -> None:
    """Any Location header is a URL that can be requested as it is, or FETCH_BAD_URL."""
    for candidate in (location, b"//" + location, b"/" + location):
        try:
            url = redirect_url(candidate, BASE)
        except BadInputError as error:
            assert error.reason is Reason.FETCH_BAD_URL
        else:
            assert_can_be_requested(url)
