"""`lalafo train`: what the gate compared has a mark, and what it did not compare has no tick."""

from datetime import UTC, datetime

import pytest
import typer

from lalafo_assets.commands.console import new_console
from lalafo_assets.commands.releases.train import print_verdict
from ops.training.gate import nothing_to_compare
from ops.training.verdict import Finding, Verdict

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_nothing_to_compare_has_no_tick(capsys: pytest.CaptureFixture[str]) -> None:
    """No release is live: no measure was judged, and the command succeeds."""
    print_verdict(nothing_to_compare("first", judged_at=NOW), new_console())
    output = capsys.readouterr().out
    assert "✓" not in output
    assert output.count("not judged: no release is live") == 5


def test_each_measure_has_its_own_mark(capsys: pytest.CaptureFixture[str]) -> None:
    """Passed, failed and not judged; a failure ends with status 1."""
    findings = (
        Finding("accuracy", (), "better"),
        Finding("recall", (), "not judged: too few", judged=False),
        Finding("cost", ("it takes twice as long",), "slower"),
    )
    with pytest.raises(typer.Exit) as ended:
        print_verdict(Verdict("new", "old", findings, NOW), new_console())
    assert ended.value.exit_code == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    marks = {line[0]: line[1] for line in lines if len(line) > 1 and line[1] in "✓-✗"}
    assert marks == {"accuracy": "✓", "recall": "-", "cost": "✗"}
