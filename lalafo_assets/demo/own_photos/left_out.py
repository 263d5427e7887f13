"""Why a file of a user's folder is not among the demo's photos."""

from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """A reason, as it is printed; in the order in which reasons are printed."""

    UNREADABLE_FOLDER = "folders that can't be opened"
    UNREADABLE = "files that can't be read"
    BROKEN = "photos that can't be used"
    TWO_CLASSES = "photos that lie in several classes"
    DUPLICATE = "copies of another photo"
    NO_CLASS = "photos beside the class folders, so without a class"
    FEW = "photos of classes with fewer than 3 different ones"
    BAD_NAME = "names that are not UTF-8, or have more than 200 characters"
    SEEN = "links to a folder that is read already"
    DEAD_LINK = "links that lead nowhere"
    OTHER = "other files"
    HIDDEN = "hidden files and folders"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is left out; `name` is its path below the user's folder.

    `detail`: what is wrong with it, or the class or photo that it belongs to.
    """

    why: Why
    name: str
    detail: str = ""
