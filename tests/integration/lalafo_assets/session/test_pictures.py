"""The process that draws a session's pictures: no ad waits for it, so it yields to all."""

import os
import sys
from datetime import date
from pathlib import Path

import psutil
import pytest

from lalafo_assets.session.pictures import PictureProcess
from ops.session.tally import Tally
from resources.postgres.database import Database

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="policies of threads are Linux's")


def test_pictures_are_drawn_at_idle_priority(database: Database, tmp_path: Path) -> None:
    """From its start on: importing numpy and matplotlib is most of its work."""
    process = PictureProcess(
        database_url=database.conninfo.text("test"), store_url=str(tmp_path), run_id="run-1"
    )
    earlier = set(psutil.Process().children())  # such as the fork server of other tests
    process.start(Tally(days={date(2026, 5, 1): 1}))  # type: ignore[arg-type]
    try:
        (drawing,) = set(psutil.Process().children()) - earlier
        assert os.sched_getscheduler(drawing.pid) == os.SCHED_IDLE
    finally:
        process.stop()
    assert not drawing.is_running() or drawing.status() == psutil.STATUS_ZOMBIE
