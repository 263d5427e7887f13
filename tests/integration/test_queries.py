"""Every metric that an alert or the dashboard names is one that a session or a gateway exports."""

import re
import shutil
import subprocess
import urllib.request

import pytest

from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.queries import FILES, metrics_of, queries
from tests.support.working_sessions import Working, until

FREE_PORT = 24_100  # or the next free one


def exported(url: str) -> dict[str, str]:
    """The type of each metric of a process, by name."""
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def is_exported(name: str, types: dict[str, str]) -> bool:
    """By the kind of its samples: `_bucket` is a histogram's."""
    base, _, suffix = name.rpartition("_")
    if suffix in ("bucket", "sum", "count") and base in types:
        return types[base] == "histogram"
    return types.get(name) in ("counter", "gauge")


def test_running_processes_export_what_queries_name(live: Live) -> None:
    good = live.photo("good.jpg", jpeg(noisy(80, 60, 1)))
    settings = live.settings.model_copy(update={"gateway_auth": "off"})
    with (
        Working(live, "one", metrics_port=FREE_PORT) as session,
        live_gateway(settings) as gateway,
    ):
        live.publish(ad("1", [good]))
        session.wait_for(1)
        until(lambda: session.session.metrics_url != "")
        types = exported(session.session.metrics_url) | exported(f"{gateway.url}/metrics")
    for title, query in queries().items():
        names = metrics_of(query)
        assert names, title
        for name in names:
            assert is_exported(name, types), f"{title}: {name}"
    assert not is_exported("lalafo_ads_total", types)
    named = {name for query in queries().values() for name in metrics_of(query)}
    left_out = {name for name in types if not any(it.startswith(name) for it in named)}
    assert left_out <= {"lalafo_committed_offset"}, "the dashboard shows all others"


def test_promtool_reads_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: it comes with Prometheus")
    done = subprocess.run(
        [promtool, "check", "rules", FILES / "alerts.yaml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
