"""What the process that forks runs has imported: every large library, and none of the project."""

import json
import subprocess
import sys

CODE = """
import json, sys
import lalafo_assets.stack.run_libraries
own = ("gateway", "lalafo_assets", "ops", "resources", "sensors")
before = set(sys.modules)
import lalafo_assets.definitions, ops.models.embed, resources.sessions.live
added = {it.partition(".")[0] for it in set(sys.modules) - before} - set(own)
print(json.dumps([
    sorted(it for it in before if it.partition(".")[0] in own),
    sorted(
        it
        for it in added - {it.partition(".")[0] for it in before} - sys.stdlib_module_names
        if not it.startswith("_")
    ),
]))
"""
SMALL = {"dotenv", "filelock", "toposort", "tqdm", "snappy", "cramjam"}


def test_a_forked_run_imports_no_large_library_again() -> None:
    """And it reads the project's modules from their files, which may have changed meanwhile."""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True
    )
    of_the_project, added = json.loads(found.stdout.splitlines()[-1])
    assert of_the_project == [
        "lalafo_assets",
        "lalafo_assets.stack",
        "lalafo_assets.stack.run_libraries",
    ]
    assert set(added) <= SMALL, added
