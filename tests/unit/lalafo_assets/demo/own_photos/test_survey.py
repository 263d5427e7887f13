"""What the demo finds in a user's folder, for every odd folder: real files, looked through."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from lalafo_assets.demo.collection import own_collection
from lalafo_assets.demo.own_photos import walk
from lalafo_assets.demo.own_photos.left_out import Why
from lalafo_assets.demo.own_photos.report import look_through, survey_report
from lalafo_assets.demo.own_photos.survey import Survey, survey
from ops.errors import ConfigurationError
from tests.support.own_photos import draw, jpeg


def look(folder: Path) -> Survey:
    return survey(folder, progress=lambda what, done, total: None)


def left_out(found: Survey) -> dict[Why, list[str]]:
    names: dict[Why, list[str]] = {}
    for item in found.left_out:
        names.setdefault(item.why, []).append(item.name)
    return {why: sorted(of) for why, of in names.items()}


def printed(found: Survey) -> str:
    """The report at 80 columns, as one line: where it is wrapped does not matter."""
    collection = own_collection(found, seed=7)
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(survey_report(found, collection.ads_of), highlight=False)
    text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines()), text
    return " ".join(text.split())


@contextmanager
def as_another_user(folder: Path) -> Iterator[None]:
    """Without root's rights, to which every folder is open."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65_534, 65_534)
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_tree_of_categories(tmp_path: Path) -> None:
    """The class is the path of the folder; the split holds photos of every class out."""
    for label in ("clothing/dresses", "clothing/hats", "clothing", "home/chairs/office"):
        draw(tmp_path / label, 4)
    found = look(tmp_path)
    classes = ["clothing", "clothing/dresses", "clothing/hats", "home/chairs/office"]
    assert found.classes == dict.fromkeys(classes, 4)
    assert not found.left_out
    collection = own_collection(found, seed=7)
    assert collection.ads_of == dict.fromkeys(classes, 1)
    assert len(collection.train) == 12
    text = printed(found)
    assert "16 photos in 4 classes, a tree" in text
    assert "│ home/chairs/office │ 4 │ 3 │ 1 │" in text
    assert "Left out" not in text


def test_names_that_differ_in_case_or_normal_form(tmp_path: Path) -> None:
    """Two normal forms of one name are one class; two cases are two, and the report says so."""
    for label in ("cafe\u0301/чашка", "caf\u00e9/чашка", "Hat", "hat", "красная шапка"):
        draw(tmp_path / label, 4)
    found = look(tmp_path)
    assert found.classes == {"Hat": 4, "caf\u00e9/чашка": 8, "hat": 4, "красная шапка": 4}
    assert found.alike == [("Hat", "hat")]
    assert {photo.name.split("/")[0] for photo in found.photos} >= {"cafe\u0301", "caf\u00e9"}
    assert "only case differs: Hat, hat" in printed(found)


def test_photos_that_lie_flat(tmp_path: Path) -> None:
    """No classes: all photos become ads, without labels; the report says what that means."""
    draw(tmp_path, 5)
    found = look(tmp_path)
    assert found.classes == {}
    collection = own_collection(found, seed=7)
    assert not collection.labelled
    assert (len(collection.train), len(collection.held_out)) == (0, 5)
    text = printed(found)
    assert "5 photos without classes" in text
    assert "lie in the folder itself" in text
    assert "there is no accuracy" in text


def test_the_home_folder_by_its_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """zsh passes `make demo PHOTOS=~/photos` as it stands."""
    draw(tmp_path / "my photos", 3)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Progress(console=Console(quiet=True)) as progress:
        found = look_through(Path("~/my photos"), progress)
    assert (found.folder, len(found.photos)) == (tmp_path / "my photos", 3)


def test_photos_beside_the_class_folders(tmp_path: Path) -> None:
    """They have no class: left out, by name."""
    draw(tmp_path / "hat", 3)
    draw(tmp_path / "shoe", 3)
    draw(tmp_path, 2)
    found = look(tmp_path)
    assert found.classes == {"hat": 3, "shoe": 3}
    assert left_out(found) == {Why.NO_CLASS: ["0.jpg", "1.jpg"]}
    assert "photos beside the class folders, so without a class (2): 0.jpg 1.jpg" in printed(found)


def test_a_class_of_one_photo(tmp_path: Path) -> None:
    """It can't be learned and judged: left out, with its count; one of two neither."""
    draw(tmp_path / "hat", 3)
    draw(tmp_path / "shoe", 4)
    draw(tmp_path / "sock", 1)
    draw(tmp_path / "tie", 2)
    found = look(tmp_path)
    assert found.classes == {"hat": 3, "shoe": 4}
    assert left_out(found) == {Why.FEW: ["sock/0.jpg", "tie/0.jpg", "tie/1.jpg"]}
    assert "photos of classes with fewer than 3 different ones (3): 2 tie, 1 sock" in printed(found)


@pytest.mark.parametrize(
    ("folders", "why"),
    [
        (("a", "b", "c"), "0 of 3 classes have 3 different photos"),
        (("a", "a", "a"), "all photos of subfolders are in a, and one class is no choice"),
        (("", "", ""), "the photos lie in the folder itself"),
        (("a", "a", "b"), "0 of 2 classes have 3 different photos"),
    ],
)
def test_three_photos_in_all(tmp_path: Path, folders: tuple[str, ...], why: str) -> None:
    """Too few to learn from, wherever they lie: all three are used, without labels."""
    for number, folder in enumerate(folders):
        jpeg(tmp_path / folder / f"{number}.jpg", seed=number)
    found = look(tmp_path)
    assert found.no_classes.startswith(why)
    assert len(own_collection(found, seed=7).held_out) == 3
    assert why in printed(found)


def test_a_subfolder_that_can_not_be_opened() -> None:
    """It is named, with the reason; the rest is used."""
    folder = Path(tempfile.mkdtemp(prefix="lalafo-test-"))
    try:
        folder.chmod(0o755)
        for label in ("hat", "shoe", "closed"):
            draw(folder / label, 3)
        (folder / "shoe" / "0.jpg").chmod(0)
        with as_another_user(folder):
            (folder / "closed").chmod(0)
            found = look(folder)
            (folder / "closed").chmod(stat.S_IRWXU)
    finally:
        shutil.rmtree(folder)
    assert len(found.photos) == 5  # without classes: "shoe" has two that can be read
    assert left_out(found) == {Why.UNREADABLE_FOLDER: ["closed"], Why.UNREADABLE: ["shoe/0.jpg"]}
    reason = os.strerror(errno.EACCES)
    assert f"folders that can't be opened (1): closed: {reason}" in printed(found)
    assert f"files that can't be read (1): shoe/0.jpg: {reason}" in printed(found)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photo.jpg", r"photo\.jpg is a file; expected a folder of photos"),
        ("absent", "absent: no such folder; expected a folder of photos"),
        ("empty", "no photo that can be used; found nothing"),
        (
            "notes",
            r"no photo that can be used; found other files \(2\), hidden files and folders \(1\)",
        ),
        (
            "broken",
            r"found photos that can't be used \(1\) \(the first: hat/a\.jpg: the photo has 0",
        ),
        ("loop", "loop can't be opened|loop: no such folder"),
    ],
)
def test_what_is_no_folder_of_photos(tmp_path: Path, name: str, message: str) -> None:
    """A file, nothing, an empty folder, other files only, broken photos only: one clear line."""
    jpeg(tmp_path / "photo.jpg", seed=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    for file in ("a.txt", "b", ".DS_Store"):
        (tmp_path / "notes" / file).write_text("x")
    (tmp_path / "broken" / "hat").mkdir(parents=True)
    (tmp_path / "broken" / "hat" / "a.jpg").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigurationError, match=message):
        look(tmp_path / name)


def test_other_files_are_counted_by_extension(tmp_path: Path) -> None:
    """They are not opened: a pipe with the name of a photo would never end."""
    draw(tmp_path / "hat", 3)
    draw(tmp_path / "shoe", 3)
    for name in ("a.txt", "b.TXT", "c.csv", "README", "movie.mp4"):
        (tmp_path / "hat" / name).write_text("x")
    os.mkfifo(tmp_path / "hat" / "pipe.jpg")
    found = look(tmp_path)
    assert len(found.photos) == 6
    assert "other files (6): 2 .txt, 1 without an extension, 1 .csv, 1 .mp4, 1 .jpg" in printed(
        found
    )


def test_broken_photos_are_named(tmp_path: Path) -> None:
    """Empty, cut off, and no photo at all: each with its name and what is wrong with it."""
    draw(tmp_path / "hat", 3)
    draw(tmp_path / "shoe", 3)
    whole = jpeg(tmp_path / "hat" / "whole.jpg", seed=9).read_bytes()
    (tmp_path / "hat" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "hat" / "empty.jpg").touch()
    (tmp_path / "shoe" / "page.png").write_text("<!DOCTYPE html><html></html>")
    found = look(tmp_path)
    assert left_out(found) == {Why.BROKEN: ["hat/cut.jpg", "hat/empty.jpg", "shoe/page.png"]}
    text = printed(found)
    assert "photos that can't be used (3): hat/cut.jpg: " in text
    assert "hat/empty.jpg: the photo has 0 bytes" in text
    assert found.classes == {"hat": 4, "shoe": 3}


def test_hidden_files_and_what_macos_adds(tmp_path: Path) -> None:
    """Neither is looked into: `._0.jpg` in `__MACOSX` is no photo."""
    draw(tmp_path / "hat", 3)
    draw(tmp_path / "shoe", 3)
    draw(tmp_path / ".thumbnails", 3)
    draw(tmp_path / "__MACOSX" / "hat", 3)
    (tmp_path / "hat" / "._0.jpg").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    found = look(tmp_path)
    assert found.classes == {"hat": 3, "shoe": 3}
    assert left_out(found) == {Why.HIDDEN: [".DS_Store", ".thumbnails", "__MACOSX", "hat/._0.jpg"]}
    assert "hidden files and folders (4): .DS_Store" in printed(found)


def test_loops_of_links_end(tmp_path: Path) -> None:
    """A link to a parent, two that lead to each other, one to itself, one to nowhere."""
    draw(tmp_path / "hat", 3)
    draw(tmp_path / "shoe", 3)
    (tmp_path / "hat" / "up").symlink_to(tmp_path)
    (tmp_path / "hat" / "again").symlink_to(tmp_path / "shoe")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    found = look(tmp_path)
    assert found.classes == {"hat": 3, "shoe": 3}
    assert left_out(found) == {
        Why.SEEN: ["hat/again", "hat/up"],
        Why.DEAD_LINK: ["gone.jpg", "self.jpg"],
    }


def test_links_that_lead_elsewhere_are_followed(tmp_path: Path) -> None:
    """A folder made of links, of folders and of photos, is as good as one of files."""
    draw(tmp_path / "elsewhere" / "many", 4)
    draw(tmp_path / "elsewhere" / "shoes", 3)
    own = tmp_path / "own"
    (own / "hat").mkdir(parents=True)
    for number in range(4):
        (own / "hat" / f"{number}.jpg").symlink_to(
            tmp_path / "elsewhere" / "many" / f"{number}.jpg"
        )
    (own / "shoe").symlink_to(tmp_path / "elsewhere" / "shoes")
    found = look(own)
    assert found.classes == {"hat": 4, "shoe": 3}
    assert not found.left_out


def test_copies_are_used_once(tmp_path: Path) -> None:
    """Of a class: the first; of two classes: none, since either label may be wrong."""
    draw(tmp_path / "hat", 3)
    draw(tmp_path / "shoe", 3)
    shutil.copy(tmp_path / "hat" / "0.jpg", tmp_path / "hat" / "copy.jpg")
    shutil.copy(tmp_path / "hat" / "1.jpg", tmp_path / "flat.jpg")
    jpeg(tmp_path / "hat" / "both.jpg", seed=77)
    jpeg(tmp_path / "shoe" / "both.jpg", seed=77)
    found = look(tmp_path)
    assert found.classes == {"hat": 3, "shoe": 3}
    assert left_out(found) == {
        Why.DUPLICATE: ["flat.jpg", "hat/copy.jpg"],
        Why.TWO_CLASSES: ["hat/both.jpg", "shoe/both.jpg"],
    }
    text = printed(found)
    assert "hat/copy.jpg: of hat/0.jpg" in text
    assert "hat/both.jpg: hat and shoe" in text


def test_extensions_in_any_case_and_every_format(tmp_path: Path) -> None:
    """`.JPG` of a camera, `.HEIC` of a telephone, and the others that the session reads."""
    draw(tmp_path / "hat", 3)
    for number, suffix in enumerate(
        (".JPG", ".Jpeg", ".PNG", ".webp", ".GIF", ".HEIC", ".bmp", ".TIFF", ".AVIF")
    ):
        jpeg(tmp_path / "shoe" / f"{number}{suffix}", seed=number)
    found = look(tmp_path)
    assert found.classes == {"hat": 3, "shoe": 9}
    assert not found.left_out


def test_names_that_no_ad_can_have(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, a line feed, and a path of more than 200 characters."""
    draw(tmp_path / "hat", 3)
    draw(tmp_path / "shoe", 3)
    jpeg(tmp_path / "hat" / os.fsdecode(b"caf\xe9.jpg"), seed=50)
    jpeg(tmp_path / "two\nlines" / "0.jpg", seed=51)
    jpeg(tmp_path / ("l" * 150) / ("o" * 60) / "0.jpg", seed=52)
    jpeg(tmp_path / "[bold]" / "0.jpg", seed=53)
    found = look(tmp_path)
    assert found.classes == {"hat": 3, "shoe": 3}
    assert left_out(found)[Why.BAD_NAME] == [
        "hat/caf\ufffd.jpg",
        f"{'l' * 150}/{'o' * 60}/0.jpg",
        "two\ufffdlines/0.jpg",
    ]
    assert "1 [bold]" in printed(found)


def test_a_disk_is_not_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PHOTOS=/ ends with one line."""
    monkeypatch.setattr(walk, "MAX_FILES", 5)
    draw(tmp_path / "hat", 6)
    with pytest.raises(ConfigurationError, match="more than 5 files; give a smaller folder"):
        look(tmp_path)


def test_many_classes_and_many_faults_fit_the_screen(tmp_path: Path) -> None:
    """The first are shown, the others counted."""
    for number in range(30):
        draw(tmp_path / f"class-{number:02d}", 3, seed=10 * number)
    for number in range(20):
        (tmp_path / "class-00" / f"bad-{number:02d}.jpg").touch()
    text = printed(look(tmp_path))
    assert "90 photos in 30 classes" in text
    assert "│ 6 other classes │ 18 │ 12 │ 6 │" in text
    assert "class-00/bad-07.jpg: the photo has 0 bytes and 12 more" in text
