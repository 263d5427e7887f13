"""Makes a release of another one and the installed tasks that learn nothing."""

from ops.errors import ConfigurationError
from ops.models.release import Release
from ops.models.release_files import assemble
from ops.models.task_head import TaskHead
from ops.training.make_release import unlearned_heads


def extended(release: Release) -> Release:
    """The release with the heads of the installed tasks that learn nothing; the rest is the same.

    A head of such a task that the release has already gets the installed version's settings.

    Raises:
        ConfigurationError: no such task is installed that the release lacks.
    """
    added = unlearned_heads()
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


def _settings(release: Release, task: str) -> dict[str, object] | None:
    head = release.heads.get(task)
    return dict(head.config) if isinstance(head, TaskHead) else None
