"""The demo: the main job on this machine, with a real broker, PostgreSQL, Dagster and gateway.

Owns the order of the steps: draw or read photos, make a release, start the stack, install the
release, publish ads, wait until each is accounted for, print the results, and run the release tour.
"""

import os
import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.progress import Progress

from gateway.client import LalafoClient
from lalafo_assets.commands.publishing import ad_of, event_of
from lalafo_assets.commands.terminal.bars import new_bars
from lalafo_assets.commands.terminal.steps import Steps
from lalafo_assets.demo.ads import DemoMessage, broken_messages, make_ads
from lalafo_assets.demo.bad_photos import corrupt_photos
from lalafo_assets.demo.collection import Collection, generated_collection, own_collection
from lalafo_assets.demo.options import DemoOptions
from lalafo_assets.demo.outcome import Watch, outcome_table
from lalafo_assets.demo.own_photos.report import look_through, survey_report
from lalafo_assets.demo.photo_host import PhotoHost
from lalafo_assets.demo.release import DemoRelease, make_release
from lalafo_assets.demo.release_tour import run_release_tour
from lalafo_assets.demo.reposts import ALTERATIONS, FEWEST_ADS, make_reposts
from lalafo_assets.reports.release import materialization
from lalafo_assets.stack.supervisor import Stack
from ops.errors import LalafoError
from ops.training.provenance import DRAWN_CATALOG
from ops.types import ProgressCallback
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.processes.child import make_home
from resources.processes.environment import cache_folders
from resources.settings import Settings, changed_settings, load_settings

PUBLISH_S = 20.0
"""The ads are published over so many seconds, as a stream."""

MAX_UNSCORED = 4_000
"""Events that are published but not yet scored. The embedded broker keeps 5 MiB per partition and
would delete older events; this stays far below it."""

FIRST_SHARE = 0.3
"""The share of the ads that is published before a session runs; the rest arrives while it runs."""

STALLED_S = 180.0
SHOW_EVERY = 20
LINEAGE = "/locations/lalafo_assets/asset-groups/catalogue/lineage"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Photo hosts: of the demo's photos, of the corrupt ones, and of those of ads posted again."""

    photos: PhotoHost
    corrupt: PhotoHost
    reposts: PhotoHost
    reposts_folder: Path


def run_demo(options: DemoOptions, console: Console) -> bool:
    """Run the demo, and return whether every event is accounted for.

    Raises:
        ConfigurationError: photos, weights or a port are not available.
    """
    started = time.monotonic()
    make_home(options.home)
    os.environ.update(cache_folders(options.home, os.environ))
    with new_bars(console) as progress, ExitStack() as stack:
        collection = _collect(options, progress)
        # Nothing else runs yet, so the model may use every core.
        every_core = changed_settings({"torch_threads": 0})
        release = make_release(options, collection, every_core, progress)
        with Steps(console, progress) as steps:
            running = stack.enter_context(_stack(options, steps))
        settings = load_settings()
        database = stack.enter_context(closing(Database.from_settings(settings)))
        hosts = _hosts(options.home, collection, stack)
        _make_live(release, settings, database, console)
        since = datetime.now(UTC)
        catalog = f"{DRAWN_CATALOG if options.photos is None else 'demo-'}{since:%d%H%M%S}"
        messages, reposts = _messages(options, collection, catalog, hosts)
        with AdStream.from_settings(settings) as topics:
            watch = Watch(database, catalog, topics.stream_id(), since, hosts.corrupt.address)
            stream = _Stream(progress, watch, messages)
            with LalafoClient(running.gateway_url, settings.gateway_key) as client:
                stream.publish(client, topics, running)
            stream.wait_for_all(running)
        broken = sum(message.bad for message in messages)
        outcome = watch.outcome(len(messages), broken)
        progress.stop()
        console.print(outcome_table(outcome, release.baselines))
        if options.story:
            run_release_tour(
                *(options.home, running.ui_url, database, console),
                unknown=release.new_categories,
                labelled=collection.labelled,
            )
        console.print(f"[dim]The demo took {time.monotonic() - started:.0f} s.[/]")
        if options.exit_at_end:
            console.print("To explore the running stack, run the demo without EXIT=1 (or --exit).")
        else:
            _next_steps(console, running, catalog, collection, reposts)
            _stay(console, running)
    return outcome.accounted_for == outcome.published


def _collect(options: DemoOptions, progress: Progress) -> Collection:
    if options.photos is not None:
        found = look_through(options.photos, progress)
        own = own_collection(found, seed=options.seed)
        progress.console.print(survey_report(found, own.ads_of), highlight=False)
        return own
    drawing = progress.add_task("drawing photos", total=None)
    folder = options.home.resolve() / "demo" / f"photos-{options.seed}"
    return generated_collection(
        folder,
        ads=options.ads,
        seed=options.seed,
        progress=lambda done, total: progress.update(drawing, completed=done, total=total),
    )


def _stack(options: DemoOptions, on_progress: ProgressCallback) -> Stack:
    return Stack(
        options.home,
        port=options.port,
        gateway_port=options.gateway_port,
        # The demo's photos are served on loopback, which the fetcher refuses otherwise.
        environment={
            "LALAFO_FETCH_ALLOW_PRIVATE": "true",
            "LALAFO_SIMILAR_ADS": "true",
            "LALAFO_DUPLICATES": "true",
        },
        on_progress=on_progress,
    )


def _hosts(home: Path, collection: Collection, stack: ExitStack) -> Hosts:
    """Start the photo hosts."""
    folder = home.resolve() / "demo" / "corrupt"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in corrupt_photos().items():
        (folder / name).write_bytes(data)
    reposts = home.resolve() / "demo" / "reposts"
    reposts.mkdir(exist_ok=True)
    return Hosts(
        # A photo behind a link of the user's folder is served too, and nothing else outside it.
        stack.enter_context(PhotoHost(collection.folder, linked=collection.names)),
        stack.enter_context(PhotoHost(folder)),
        stack.enter_context(PhotoHost(reposts)),
        reposts,
    )


def _make_live(
    release: DemoRelease, settings: Settings, database: Database, console: Console
) -> None:
    """Save and register the release, make it live, and report it to Dagster."""
    from resources.inference.loading import install
    from resources.releases.promotion import make_live
    from resources.storage.releases import ReleaseStore

    known = install(database, ReleaseStore(settings.resolved_store_url), release.release)
    make_live(database, known.name)
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(materialization(release.release.manifest, live=True))
    line = f"release [bold]{known.name}[/] is live; weights: {release.weights}"
    console.print(line, soft_wrap=True, highlight=False)


def _messages(
    options: DemoOptions, collection: Collection, catalog: str, hosts: Hosts
) -> tuple[list[DemoMessage], list[DemoMessage]]:
    """Every message, and those of them that are an ad posted again."""
    host, corrupt_host = hosts.photos, hosts.corrupt
    corrupt_urls = [corrupt_host.url(name) for name in corrupt_photos()]
    corrupt_urls += [
        corrupt_host.url("missing.jpg", path="missing"),
        corrupt_host.url("loop.jpg", path="loop"),
    ]
    posted_again = options.photos is None and options.ads >= FEWEST_ADS
    ads = make_ads(
        collection.held_out,
        count=options.ads - (len(ALTERATIONS) if posted_again else 0),
        catalog=catalog,
        url_of=host.url,
        corrupt_urls=corrupt_urls,
        seed=options.seed,
    )
    reposts: list[DemoMessage] = []
    if posted_again:
        reposts = make_reposts(
            ads,
            paths={host.url(name): collection.folder / name for name in collection.names},
            folder=hosts.reposts_folder,
            url_of=hosts.reposts.url,
        )
    return ads + reposts + broken_messages(catalog), reposts


class _Stream:
    """Publishes the events and shows their progress: published, scored, photos."""

    def __init__(self, progress: Progress, watch: Watch, messages: list[DemoMessage]) -> None:
        self.progress, self.watch, self.messages = progress, watch, messages
        self.publishing = progress.add_task("publishing to the gateway", total=len(messages))
        self.scoring = progress.add_task("waiting for a session to start", total=len(messages))
        self.photos = progress.add_task("photos", total=sum(m.photos for m in messages))

    def publish(self, client: LalafoClient, topics: AdStream, running: Stack) -> None:
        """Publish all events: a first part makes the sensor start a session, then the rest."""
        first = max(1, round(len(self.messages) * FIRST_SHARE))
        with topics.publisher() as publisher:
            for number, message in enumerate(self.messages):
                if number == first:
                    self.wait(running, until=1)
                if number % SHOW_EVERY == 0 and number > MAX_UNSCORED:
                    self.wait(running, until=number - MAX_UNSCORED)
                if message.bad:
                    # To the topic directly, as another producer would: the gateway refuses it.
                    publisher.publish(topics.config.ads_topic, key=message.key, value=message.value)
                else:
                    client.post_ad(ad_of(event_of(message.value)))
                self.progress.advance(self.publishing)
                if number >= first:
                    time.sleep(min(PUBLISH_S / len(self.messages), 0.1))
                if number % SHOW_EVERY == 0:
                    self.show()
            publisher.flush(10)

    def wait_for_all(self, running: Stack) -> None:
        """Wait until every event is accounted for and its timings are written."""
        self.wait(running, until=len(self.messages))
        self.watch.wait_for_timings()

    def wait(self, running: Stack, *, until: int) -> None:
        """Wait until `until` events are accounted for.

        Raises:
            LalafoError: no event was accounted for within STALLED_S.
        """
        last, changed_at = -1, time.monotonic()
        while last < until:
            done = self.show()
            if done != last:
                last, changed_at = done, time.monotonic()
            if time.monotonic() - changed_at > STALLED_S:
                raise LalafoError(
                    f"{last} of {len(self.messages)} events are scored, and none was scored in the "
                    f"last {STALLED_S:.0f} s: see the run's log at {running.ui_url}/runs, and the "
                    f"files in {running.home}/logs"
                )
            running.check()
            time.sleep(0.2)

    def show(self) -> int:
        """Update the bars, and return how many events are accounted for."""
        counts = self.watch.counts()
        done = counts.ads + counts.dead_letters
        self.progress.update(self.scoring, completed=done)
        if done:
            self.progress.update(self.scoring, description="scoring")
        failed = f" ({counts.photos_failed} failed)" if counts.photos_failed else ""
        self.progress.update(self.photos, completed=counts.photos, description=f"photos{failed}")
        return done


def _next_steps(
    console: Console,
    running: Stack,
    catalog: str,
    collection: Collection,
    reposts: Sequence[DemoMessage],
) -> None:
    ui, page = running.ui_url, running.gateway_url
    photo = collection.folder / collection.held_out[0].name
    steps = (
        f"\nThe page: {page}/",
        f"Dagster's UI: {ui}",
        "Things to try next:",
        "  1. Open the page and drop a photo on it.",
        "  2. Post a photo from a shell; the answer has its category:",
        f"     {try_it(page, photo)}",
        f"  3. See the assets; an asset's Events have pictures: {ui}{LINEAGE}",
        f"  4. Show one ad with its predictions: .venv/bin/lalafo results {catalog}/000001",
        *(
            f"  5. See an ad that another seller posted again: {page}/#/look/{it.key.decode()}"
            for it in reposts[:1]
        ),
        "To use your own photos, one folder per class: make demo PHOTOS=/path/to/photos",
    )
    for step in steps:
        # Not wrapped: a link or a command can't be pasted if it is broken over two lines.
        console.print(step, soft_wrap=True, highlight=False, markup=False)


def try_it(page: str, photo: Path) -> str:
    """Return a shell command that posts an ad with one photo and waits for its category."""
    file = shlex.quote(f"photo=@{photo.resolve()}")
    ad = """ad={"catalog": "try", "ad_id": "1"}"""
    return f"curl -s '{page}/v1/ads?wait=5' -F '{ad}' -F {file} | grep -o '\"label\"[^,]*'"


def _stay(console: Console, running: Stack) -> None:
    console.print("\n[bold]Running.[/] Ctrl-C stops everything and keeps the state.")
    try:
        while True:
            running.check()
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("Stopping.")
