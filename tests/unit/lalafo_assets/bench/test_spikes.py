"""Which ads count as spikes, and what is named as their cause."""

from dataclasses import replace

import pytest

from lalafo_assets.bench.harness.cpu import SESSIONS
from lalafo_assets.bench.harness.figures import STAGES, AdTiming
from lalafo_assets.bench.stream.spikes import Sample, causes, find_spikes

USUAL = dict.fromkeys(STAGES, 5.0)  # 35 ms in all


def ad(number: int, **stages_ms: float) -> AdTiming:
    """An ad that was sent 100 ms after the one before it."""
    stages = {**USUAL, **stages_ms}
    at = 1000 + number / 10
    return AdTiming(str(number), 2, at, at + sum(stages.values()) / 1e3, "run", stages)


def sample(number: int, **changed: object) -> Sample:
    """The sample of a twentieth of a second."""
    usual = Sample(1000 + number / 20, {SESSIONS: 30.0, "postgres": 8.0}, 4.0, 1.0, 0.1)
    return replace(usual, **changed)


def samples(**changed: object) -> list[Sample]:
    """The samples of two seconds; those around the ad 10 are changed."""
    return [sample(n, **(changed if 20 <= n <= 24 else {})) for n in range(40)]


def ads(**of_ten: float) -> list[AdTiming]:
    return [ad(n, **(of_ten if n == 10 else {})) for n in range(20)]


@pytest.mark.parametrize(
    ("stages", "changed", "stage", "cause"),
    [
        ({"commit_and_waits": 150}, {"fsync_ms": 80.0}, "commit_and_waits", "the disk"),
        (
            {"embed": 150},
            {"waited_ms": 60.0, "cpu_ms": {SESSIONS: 20.0, "postgres": 60.0}},
            "embed",
            "no free core: postgres",
        ),
        (
            {"embed": 150},
            {"waited_ms": 60.0, "cpu_ms": {SESSIONS: 95.0, "postgres": 5.0}},
            "embed",
            "no free core: the session's own",
        ),
        ({"queued": 150}, {}, "queued", "ads before it"),
        ({"fetch": 90}, {}, "fetch", "not seen"),
    ],
)
def test_the_cause_is_what_exceeds_the_usual(
    stages: dict[str, float], changed: dict[str, object], stage: str, cause: str
) -> None:
    (spike,) = find_spikes(ads(**stages), samples(**changed))
    assert (spike.ad_id, spike.stage, spike.stage_ms) == ("10", stage, stages[stage])
    assert spike.cause.startswith(cause)
    assert spike.latency_ms == pytest.approx(30 + stages[stage])
    assert causes([spike, spike]) == {spike.cause: 2}


def test_an_ad_below_three_times_the_median_is_no_spike() -> None:
    assert find_spikes(ads(embed=70.0), samples()) == []


def test_a_run_without_ads_or_samples_has_no_cause() -> None:
    assert find_spikes([], samples()) == []
    (spike,) = find_spikes(ads(fetch=300.0), [])
    assert spike.cause in ("not seen in the samples", "ads before it")
