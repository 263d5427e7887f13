"""Shows what a user's folder holds: its classes, and what is left out and why."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from lalafo_assets.demo.own_photos.left_out import LeftOut, Why
from lalafo_assets.demo.own_photos.survey import Survey, survey
from ops.models.categories.tree import is_tree

MAX_CLASSES = 24
MAX_NAMES = 8
MAX_COUNTS = 6


def look_through(folder: Path, progress: Progress) -> Survey:
    """Look through a user's folder, with a bar.

    Raises:
        ConfigurationError: it is no folder, or has no photo that can be used.
    """
    bar = progress.add_task("looking through the folder", total=None)

    def on_progress(what: str, done: int, total: int | None) -> None:
        progress.update(bar, description=what, completed=done, total=total)

    # Not every shell expands the ~ of PHOTOS=~/photos.
    return survey(folder.expanduser().absolute(), progress=on_progress)


def survey_report(found: Survey, held_out: Mapping[str, int]) -> RenderableType:
    """Return what is printed before the demo starts.

    Args:
        held_out: by class, how many photos ads are made of; the others train the head.
    """
    lines: list[RenderableType] = []
    photos, classes = len(found.photos), found.classes
    if classes:
        title = f"{photos:,} photos in {len(classes)} classes"
        if is_tree(list(classes)):
            title += ", a tree: where a class is unsure, the one above it is answered"
        lines += [Text(f"{found.folder}: {title}", style="bold"), _table(classes, held_out)]
        lines += [
            Text(f"Learned as different classes, though only case differs: {', '.join(same)}")
            for same in found.alike
        ]
    else:
        lines += [
            Text(f"{found.folder}: {photos:,} photos without classes", style="bold"),
            Text(f"No head can be fitted: {found.no_classes}."),
            Text(
                "The demo's release scores them with its own labels, and there is no accuracy. "
                "With one subfolder per class, at least two of them, it learns yours."
            ),
        ]
    if found.left_out:
        lines.append(Text("Left out:", style="bold"))
        lines += [Padding(Text(line), (0, 0, 0, 2)) for line in _left_out(found)]
    return Group(*lines)


def _table(classes: Mapping[str, int], held_out: Mapping[str, int]) -> Table:
    table = Table()
    table.add_column("class", overflow="fold")
    for name in ("photos", "to train on", "to make ads of"):
        table.add_column(name, justify="right")
    for label, count in list(classes.items())[:MAX_CLASSES]:
        judged = held_out.get(label, 0)
        table.add_row(escape(label), f"{count:,}", f"{count - judged:,}", f"{judged:,}")
    rest = list(classes.items())[MAX_CLASSES:]
    if rest:
        total, judged = sum(n for _, n in rest), sum(held_out.get(label, 0) for label, _ in rest)
        row = (f"{total:,}", f"{total - judged:,}", f"{judged:,}")
        table.add_row(f"[dim]{len(rest)} other classes[/]", *row)
    return table


def _left_out(found: Survey) -> Iterator[str]:
    """A line for each reason, or more where each file has its own fault."""
    for why in Why:
        items = [item for item in found.left_out if item.why is why]
        if not items:
            continue
        if why is Why.OTHER:
            texts = _counted(PurePosixPath(item.name).suffix.lower() for item in items)
            yield f"{why.value} ({len(items):,}): {', '.join(texts)}"
        elif why is Why.FEW:
            texts = _counted(item.detail for item in items)
            yield f"{why.value} ({len(items):,}): {', '.join(texts)}"
        else:
            yield f"{why.value} ({len(items):,}):"
            yield from (f"  {_described(item)}" for item in items[:MAX_NAMES])
            if len(items) > MAX_NAMES:
                yield f"  and {len(items) - MAX_NAMES:,} more"


def _counted(names: Iterable[str]) -> list[str]:
    """The most frequent names with their counts, and how many others there are."""
    counts = Counter(names)
    most = counts.most_common(MAX_COUNTS)
    texts = [f"{count:,} {name or 'without an extension'}" for name, count in most]
    rest = counts.total() - sum(count for _, count in most)
    return [*texts, f"{rest:,} others"] if rest else texts


def _described(item: LeftOut) -> str:
    return f"{item.name}: {item.detail}" if item.detail else item.name
