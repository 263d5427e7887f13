"""The pure parts of `lalafo bench peers`: its options, and the figures from stored photos."""

import importlib.util

import pytest

from lalafo_assets.bench.peers.figures import Run, Stored, Window, cpu_within, summary, window
from lalafo_assets.bench.peers.options import PeersBench
from ops.errors import ConfigurationError, LalafoError


def bench(*kinds: str, count: int = 3_000) -> PeersBench:
    return PeersBench(photos=None, count=count, rounds=1, kinds=frozenset(kinds))


def test_the_window_begins_when_every_process_works():
    """Photos stored until the slowest process has begun are not counted, nor is that time."""
    stored = [
        Stored("a", 10.0, 32),
        Stored("a", 11.0, 32),
        Stored("b", 12.0, 32),  # the second process has its first photos here
        Stored("a", 12.5, 32),
        Stored("b", 14.0, 8),
    ]
    found = window(stored)
    assert found == Window(12.0, 14.0, 40)
    assert found.photos_per_s == 20.0


@pytest.mark.parametrize("stored", [[], [Stored("a", 1.0, 5)], [Stored("a", 1.0, 5)] * 2])
def test_too_few_photos_are_an_error(stored: list[Stored]):
    """Without photos after the first ones there is no rate."""
    with pytest.raises(LalafoError, match="raise --count"):
        window(stored)


def test_cpu_time_is_interpolated_at_the_ends_of_the_window():
    """A second at full use before the window, and one after it, are not counted."""
    samples = [(0.0, 0.0), (10.0, 10.0), (20.0, 30.0), (30.0, 40.0)]
    assert cpu_within(samples, Window(5.0, 25.0, 1)) == pytest.approx(35.0 - 5.0)
    assert cpu_within(samples, Window(10.0, 20.0, 1)) == pytest.approx(20.0)
    assert cpu_within(samples, Window(-5.0, 99.0, 1)) == pytest.approx(40.0)


def test_the_ratio_is_the_median_of_the_rounds():
    """Each round's ratio compares runs of that round."""
    peer = [Run(100.0, 5.0), Run(200.0, 7.0), Run(400.0, 9.0)]
    product = [Run(50.0, 8.0), Run(180.0, 8.0), Run(320.0, 8.0)]
    assert summary(peer, product) == {
        "photos_per_s": 200.0,
        "cpu_ms_per_photo": 7.0,
        "rounds": [100.0, 200.0, 400.0],
        "ratio": 0.8,
    }
    assert "ratio" not in summary(peer, [])


def test_every_kind_runs_in_both_modes_and_the_product_gets_as_many_photos():
    """Of the peers, one worker a framework, and one for each plain process."""
    peers = bench("ray", "plain", "product").peers
    assert [peer.name for peer in peers] == [
        "plain_eager",
        "plain_traced",
        "ray_eager",
        "ray_traced",
    ]
    assert [peer.shares_work for peer in peers] == [False, False, True, True]
    assert all(importlib.util.find_spec(peer.module) is not None for peer in peers)
    stream = bench("product", count=1_000).stream
    assert (stream.photo_count, stream.session_count, stream.partition_count) == (1_000, 2, 2)
    assert stream.load_rate == 0


@pytest.mark.skipif(importlib.util.find_spec("daft") is not None, reason="Daft is installed")
def test_a_missing_peer_is_named_in_one_line():
    """With how to install it, and how to do without it."""
    with pytest.raises(ConfigurationError) as raised:
        bench("daft", "plain").check_installed()
    assert "lalafo-vision[bench]" in str(raised.value)
    assert "--only plain" in str(raised.value)
    assert "\n" not in str(raised.value)
    bench("plain", "product").check_installed()
