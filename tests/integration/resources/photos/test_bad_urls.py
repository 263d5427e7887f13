"""URLs in events that no request can be made of: the photo fails, and its neighbours are scored."""

import pytest

from ops.errors import Reason
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy

BAD = [
    "http://xn--a/1.jpg",
    "http://xn--a.1/1.jpg",
    "http://a..b/1.jpg",
    "http://" + "a" * 70 + ".org/1.jpg",
    "http://[fe80::1%25eth0]/1.jpg",
    "http://a:\uff18\uff10/1.jpg",
    "http://u:p@xn--a/1.jpg",
    "http://e\u200bvil.example/1.jpg",
]


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_a_bad_url_fails_its_photo_alone(live: Live) -> None:
    """By Kafka, between good ads: each ad is committed, and each bad URL has its failure row."""
    good = live.photo("1.jpg", jpeg(noisy(80, 60, 1)))
    for number, url in enumerate(BAD):
        live.publish(
            ad(f"before-{number}", [good]),
            ad(f"bad-{number}", [url]),
            ad(f"both-{number}", [url, good]),
        )
    tally, _ = live.drain()
    assert tally.unaccounted == 0
    assert live.rows(
        "SELECT split_part(ad_id, '-', 1), status, count(*) FROM lalafo.ads "
        "GROUP BY 1, 2 ORDER BY 1"
    ) == [
        ("bad", "unscored", len(BAD)),
        ("before", "scored", len(BAD)),
        ("both", "scored", len(BAD)),
    ]
    reasons = live.rows("SELECT reason, count(*) FROM lalafo.failures GROUP BY 1")
    assert reasons == [(Reason.FETCH_BAD_URL, 2 * len(BAD))]
