"""Pictures as Dagster metadata that its UI shows where people look.

Dagster's UI (1.13) renders Markdown of fewer than 1,000 characters inline, and longer one in a
dialog, a click further. So a picture is Markdown with a link to the gateway, which serves it from
the store, where LALAFO_PICTURES_URL names a gateway that browsers reach; otherwise its data are
embedded, small, since the event log keeps each of them. A path on this machine is nothing that a
browser can open.
"""

from collections.abc import Mapping

import dagster as dg

from lalafo_assets.reports.metadata import Metadata
from ops.pictures.previews import as_markdown, shrunk
from resources.settings import load_settings
from resources.storage.report_pictures import ReportPictures, picture_name, picture_url


def linked(title: str, url: str) -> dg.MarkdownMetadataValue:
    """Return a picture that the gateway serves: shown inline, and a link to itself."""
    return dg.MetadataValue.md(f"[![{title}]({url})]({url})")


def embedded(image: bytes) -> dg.MarkdownMetadataValue:
    """Return a picture that is part of the metadata, at most 16 KB."""
    return dg.MetadataValue.md(as_markdown(shrunk(image)))


def as_metadata(pictures: Mapping[str, bytes], of: str, part: str = "") -> Metadata:
    """Return pictures as metadata; those that are linked are stored first.

    Args:
        of: the id of a run, or the name of a release or training set.
        part: what of it they show, such as an asset's name.
    """
    settings = load_settings()
    if settings.pictures_url == "":
        return {title: embedded(image) for title, image in pictures.items()}
    store, metadata = ReportPictures(settings.resolved_store_url), dict[str, dg.MetadataValue]()
    for title, image in pictures.items():
        name = picture_name(part, title, image=image)
        store.put(of, name, image)
        metadata[title] = linked(title, picture_url(settings.pictures_url, of, name))
    return metadata
