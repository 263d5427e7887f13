"""What the page says about failures: every reason code, and nothing that can't help."""

import json
import re
import shutil
import subprocess

import pytest

from gateway.page.routes import FOLDER
from ops.errors import TEMPORARY_REASONS, Reason

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node")

SAY_ALL = """
import { REASON_CODES, reason } from "./reasons.js";
console.log(JSON.stringify(REASON_CODES.map(([code]) => ({ code, ...reason(code) }))));
"""


@pytest.fixture(scope="module")
def said() -> dict[str, dict]:
    """What the page says, by code: the page's own module, run by node."""
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", SAY_ALL],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    return {one["code"]: one for one in json.loads(done.stdout)}


def test_every_reason_is_explained(said: dict[str, dict]) -> None:
    assert set(said) == {reason.value for reason in Reason}
    for one in said.values():
        assert one["what"] != one["code"] and one["todo"].endswith(".")


def test_sending_again_is_advised_only_where_it_can_help(said: dict[str, dict]) -> None:
    """For reasons that may clear without a change; for no other does the advice mention it."""
    assert {code for code, one in said.items() if one["again"]} == TEMPORARY_REASONS
    for code, one in said.items():
        advised = re.search(r"\b(again|retry|resend)\b", one["todo"]) is not None
        assert advised == one["again"], code
