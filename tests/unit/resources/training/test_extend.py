"""A release is extended by the installed tasks, and by other settings of them."""

import pytest

from lalafo_assets.starter import load_starter
from ops.errors import ConfigurationError
from ops.models.release import Release
from ops.models.task_head import TaskHead
from ops.tasks.quality import TASK
from resources.training.extend import extended


@pytest.fixture(scope="module")
def starter() -> Release:
    return load_starter()


def config_of(release: Release, task: str) -> dict[str, object]:
    head = release.heads[task]
    assert isinstance(head, TaskHead)
    return dict(head.config)


def test_a_setting_is_changed_for_the_new_release_alone(starter: Release) -> None:
    """The others stay as installed, and the next release has those of the installed task again."""
    plain, changed = extended(starter), extended(starter, {"quality": {"tiny_px": 500.0}})
    assert config_of(plain, "quality") == TASK.config
    assert config_of(changed, "quality") == {**TASK.config, "tiny_px": 500.0}
    assert TASK.config["tiny_px"] != 500.0
    assert config_of(extended(changed), "quality") == TASK.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality": {"tiny": 500}}, "quality has no setting tiny: heads, severity, tiny_px"),
        ({"category": {"leaf": 0.5}}, "No installed task category has settings"),
        ({"nothing": {"a": 1}}, "No installed task nothing has settings"),
    ],
)
def test_an_unknown_setting_is_refused(
    starter: Release, changes: dict[str, dict[str, float]], message: str
) -> None:
    """By its name, with those that exist."""
    with pytest.raises(ConfigurationError, match=message):
        extended(starter, changes)
