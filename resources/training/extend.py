"""Makes a release of another one and the installed tasks that learn nothing."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ops.errors import ConfigurationError
from ops.models.release import Release
from ops.models.release_files import assemble
from ops.models.task_head import TaskHead
from ops.training.make_release import unlearned_heads


def extended(
    release: Release,
    changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    heads: Mapping[str, TaskHead] = MappingProxyType({}),
) -> Release:
    """The release with the heads of the installed tasks that learn nothing; the rest is the same.

    A head of such a task that the release has already gets the installed version's settings.

    Args:
        changes: by task, settings that differ from the installed version's, such as the thresholds
            of moderation.
        heads: by task, heads instead of the installed version's, such as another network of masks.

    Raises:
        ConfigurationError: the release has all of that already, or a change is of a task or a
            setting that doesn't exist.
    """
    added = {**unlearned_heads(), **heads}
    for task, values in changes.items():
        added[task] = _changed(task, added.get(task), values)
    new = {
        task: head for task, head in added.items() if _settings(release, task) != dict(head.config)
    }
    if not new:
        raise ConfigurationError(
            f"{release.manifest.name} has every installed task that learns nothing "
            f"({', '.join(sorted(added)) or 'none is installed'}). A task that learns from labels "
            "comes with `lalafo train`."
        )
    manifest = release.manifest
    return assemble(
        backbone=manifest.backbone,
        weights_source=manifest.weights_source,
        preprocessing=manifest.preprocessing,
        backbone_state=release.backbone_state,
        heads={**release.heads, **new},
        metrics={**manifest.metrics, "extended": manifest.name},
        dimension=manifest.dimension,
    )


def _changed(task: str, head: TaskHead | None, values: Mapping[str, Any]) -> TaskHead:
    if head is None:
        raise ConfigurationError(f"No installed task {task} has settings that can be changed.")
    unknown = sorted(set(values) - set(head.config))
    if unknown:
        raise ConfigurationError(
            f"The task {task} has no setting {', '.join(unknown)}: {', '.join(sorted(head.config))}"
        )
    return replace(head, config={**head.config, **values})


def _settings(release: Release, task: str) -> dict[str, object] | None:
    head = release.heads.get(task)
    return dict(head.config) if isinstance(head, TaskHead) else None
