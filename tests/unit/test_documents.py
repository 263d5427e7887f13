"""The documents name what there is: pages, files, settings, defaults, commands, targets."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import typer.main

from lalafo_assets.cli import app
from resources.settings import Settings
from tests.support.document_plan import LANGUAGES, PLAN, Run
from tests.support.documents import ROOT, all_blocks, blocks_of, document_names, prose_of

DOCUMENTS = document_names()
CHECKED = {*LANGUAGES, "json", "yaml", "toml", "properties", "text"}
PACKAGES = ("gateway", "lalafo_assets", "ops", "resources", "sensors", "tests", "docs")
SETTING = re.compile(r"LALAFO_[A-Z0-9_]*[A-Z0-9]\b(?!…|_)")
TEST_VARIABLES = ("LALAFO_REQUIRE_", "LALAFO_DRILL")
EXAMPLES_OF_OTHERS = ("LALAFO_ENV", "LALAFO_TEAM")  # variables of other programs
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_.]*$|…")


def codes_of(document: str) -> list[str]:
    """The inline code of a document, across the ends of lines."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose_of(document))]


def test_every_block_of_commands_has_its_step_in_order() -> None:
    """None is forgotten when a document changes, and the steps are those of the documents."""
    blocks, steps = all_blocks(*LANGUAGES), [step.block for step in PLAN]
    assert [str(block) for block in blocks if block not in steps] == []
    for one, next_one in pairwise(steps):
        assert one.document != next_one.document or one.line < next_one.line, next_one


def test_what_is_not_run_says_why_and_is_little() -> None:
    not_run = [step for step in PLAN if step.run is Run.NOT]
    assert all(step.why_not != "" for step in not_run)
    assert len(not_run) <= 4


def test_every_block_is_of_a_language_that_a_test_checks() -> None:
    assert [str(block) for block in all_blocks() if block.language not in CHECKED] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """To a file of the project, and to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(document)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), f"{document}: {target}"
        if anchor:
            assert anchor in anchors_of(file.read_text()), f"{document}: {target}"


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for document in DOCUMENTS:
        if document.startswith("docs/") and document != "docs/README.md":
            assert f"({document.removeprefix('docs/')})" in index, document


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_are_there(document: str) -> None:
    """By their whole path, or by its end as in tables."""
    files = [path.relative_to(ROOT).as_posix() for name in PACKAGES for path in folder_of(name)]
    for code in codes_of(document):
        if re.fullmatch(r"[\w./]+\.(py|yaml|jsonl|md)", code):
            ends = any(f"/{file}".endswith(f"/{code}") for file in files)
            assert ends or (ROOT / code).exists(), f"{document}: {code}"
        elif re.fullmatch(rf"({'|'.join(PACKAGES)})/[\w./]*", code):
            assert (ROOT / code).exists(), f"{document}: {code}"


def folder_of(package: str) -> Iterator:
    return (path for path in (ROOT / package).rglob("*.*") if "target" not in path.parts)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_that_are_named_exist(document: str) -> None:
    for name in SETTING.findall((ROOT / document).read_text()):
        known = name.removeprefix("LALAFO_").lower() in Settings.model_fields
        assert known or name.startswith((*TEST_VARIABLES, *EXAMPLES_OF_OTHERS)), (
            f"{document}: {name}"
        )


def rows_of_settings() -> list[tuple[str, str, str]]:
    """(document, name, default) of the tables whose names are written without `LALAFO_`."""
    found = []
    for document in DOCUMENTS:
        inside = False
        for line in (ROOT / document).read_text().splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("| setting (`LALAFO_…`) | default |"):
                inside = True
            elif inside and line.startswith("| `"):
                names = re.findall(r"`([A-Z_]+)`", cells[0])
                defaults = cells[1].split(", ") if len(names) > 1 else [cells[1]]
                found += [(document, n, d) for n, d in zip(names, defaults, strict=True)]
            elif not line.startswith("|"):
                inside = False
    return found


@pytest.mark.parametrize(("document", "name", "default"), rows_of_settings())
def test_a_default_in_a_table_is_the_code_s(document: str, name: str, default: str) -> None:
    value = Settings.model_fields[name.lower()].default
    written = default.strip("`").replace(",", "")
    if isinstance(value, bool):
        assert written == str(value).lower()
    elif isinstance(value, int | float):
        assert float(written) == value
    elif value != "":
        assert written == value


def commands() -> list[tuple[str, str]]:
    """Each `lalafo …` of a document: in its prose, and in the lines of its blocks."""
    found = []
    for document in DOCUMENTS:
        lines = [line for block in blocks_of(document, "sh") for line in block.text.splitlines()]
        texts = [*codes_of(document), *lines]
        matches = (re.search(r"(?:^|[( ])lalafo (?=[a-z-])([^#()&>]+)", text) for text in texts)
        found += [(document, match[1].strip()) for match in matches if match is not None]
    return sorted(set(found))


@pytest.mark.parametrize(("document", "command"), commands())
def test_a_command_and_its_options_exist(document: str, command: str) -> None:
    """Whatever its arguments are: placeholders, names and files are not resolved."""
    at: Any = typer.main.get_command(app)
    words = [word for word in command.split() if not PLACEHOLDER.search(word)]
    while hasattr(at, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = at.commands.get(name)
        assert found is not None, f"{document}: lalafo {command}: no command {name}"
        at = found
    options = {option for parameter in at.params for option in parameter.opts} | {"--help"}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{document}: lalafo {command}: {word}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_targets_of_make_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [*codes_of(document), *(block.text for block in blocks_of(document, "sh"))]
    for text in texts:
        for target in re.findall(r"^make ([a-z-]+)", text):
            assert target in targets, f"{document}: make {target}"
