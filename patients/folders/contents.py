"""Find the files of a folder to import, and what in it is none."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidInput
from patients.dicom.file import is_media_directory

_MEDIA_DIRECTORY_NAMES = frozenset({"dicomdir", "dicomdir;1"})
# What systems leave in folders; macOS writes `._NAME` beside NAME on foreign disks.
_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_SYSTEM_FOLDERS = frozenset(
    {"__macosx", "$recycle.bin", "system volume information", "lost+found"}
)
HIDDEN = _("passed over: a hidden file")
HIDDEN_FOLDER = _("passed over: a hidden folder")
SYSTEM_FILE = _("passed over: a file of the operating system")
SYSTEM_FOLDER = _("passed over: a folder of the operating system")
LINKED_FOLDER = _("passed over: a link to a folder; import that folder by its own path")
NO_FILE = _("passed over: neither a file nor a folder")
MEDIA_DIRECTORY = _("passed over: the directory of DICOM media, which is no image")


@dataclass
class FolderContents:
    """What is below a folder.

    Attributes:
        files: To import, sorted.
        passed_over: What is no image, each with the reason.
        unreadable: What cannot be read, each with the reason.
    """

    files: list[Path] = field(default_factory=list)
    passed_over: list[tuple[Path, Promise]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def look_below(folder: Path, *, manifest: Path | None = None) -> FolderContents:
    """Return the files below a folder and all that is left out, except the manifest.

    Links to files are followed, links to folders are not.
    """
    contents = FolderContents()
    left_out = manifest.resolve() if manifest else None
    for path in _below(folder, contents):
        try:
            reason = _why_no_image(path)
        except OSError as error:
            contents.unreadable.append((path, cannot_be_read(error)))
            continue
        if reason is not None:
            contents.passed_over.append((path, reason))
        elif path.resolve() != left_out:
            contents.files.append(path)
    for found in (contents.files, contents.passed_over, contents.unreadable):
        found.sort()
    return contents


def cannot_be_read(error: OSError) -> str:
    """Return the sentence for a file or folder that the system does not give."""
    return gettext("The file cannot be read: %(detail)s.") % {"detail": error.strerror}


def _below(folder: Path, contents: FolderContents) -> Iterator[Path]:
    """Yield everything that is no folder; note the folders that are not entered."""

    def unreadable(error: OSError) -> None:
        contents.unreadable.append((Path(error.filename), cannot_be_read(error)))

    for top, folders, files in os.walk(folder, onerror=unreadable):
        for name in list(folders):
            path = Path(top) / name
            if reason := _why_not_entered(path):
                folders.remove(name)
                contents.passed_over.append((path, reason))
        yield from (Path(top) / name for name in files)


def _why_not_entered(folder: Path) -> Promise | None:
    if folder.name.casefold() in _SYSTEM_FOLDERS:
        return SYSTEM_FOLDER
    if folder.name.startswith("."):
        return HIDDEN_FOLDER
    return LINKED_FOLDER if folder.is_symlink() else None


def _why_no_image(path: Path) -> Promise | None:
    """Return why a file is passed over; None to import it.

    Raises:
        OSError: It cannot be read, or is a link that leads nowhere.
    """
    if path.name.casefold() in _SYSTEM_FILES or path.name.startswith("._"):
        return SYSTEM_FILE
    if path.name.startswith("."):
        return SYSTEM_FILE if path.name == ".DS_Store" else HIDDEN
    if not stat.S_ISREG(path.stat().st_mode):
        return NO_FILE
    return MEDIA_DIRECTORY if _is_media_directory(path) else None


def _is_media_directory(path: Path) -> bool:
    """Return whether it is a DICOMDIR: by its SOP class, else by its name."""
    with path.open("rb") as file:
        try:
            return is_media_directory(file)
        except InvalidInput:
            return path.name.casefold() in _MEDIA_DIRECTORY_NAMES
