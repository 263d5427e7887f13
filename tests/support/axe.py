"""axe-core in a browser page: the rules of WCAG 2.2, level AA, that a program can check."""

import os
from pathlib import Path
from typing import Any

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
FEWEST_RULES = 10  # that apply to any view: fewer mean that axe saw no page
# axe turns off the size of targets unless a caller turns it on.
_RUN = """async (tags) => {
  const options = {
    runOnly: { type: "tag", values: tags },
    rules: { "target-size": { enabled: true } },
    resultTypes: ["violations"],
  };
  const { violations, passes } = await axe.run(document, options);
  const where = ({ target, failureSummary }) => `${target.join(" ")}: ${failureSummary}`;
  return {
    passed: passes.map(({ id }) => id),
    violations: violations.map(({ id, nodes }) => [id, nodes.map(where)]),
  };
}"""


def why_no_axe() -> str | None:
    """Why axe can't run; None if it can, or if LALAFO_REQUIRE_NODE wants a failure instead."""
    if AXE.is_file() or os.environ.get("LALAFO_REQUIRE_NODE") == "1":
        return None
    return "no axe-core: `make lint-page` installs it (node and npm are needed)"


def violations(page: Any) -> dict[str, list[str]]:
    """The violated rules, each with the elements and what is wrong with them.

    The script is evaluated by the browser's debugger, which the content security policy allows.
    """
    page.evaluate(AXE.read_text())
    found = page.evaluate(_RUN, TAGS)
    assert len(found["passed"]) >= FEWEST_RULES, found
    return dict(found["violations"])
