"""Image files anywhere under a folder: which are read, which are left out and told, and what their folders say of them."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from ..user_warning import warn
from .decode import HEIF, formats

SUFFIXES = (*IMG_EXTENSIONS, ".gif", ".jfif", ".jpe", ".avif")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")  # of iPhones and some cameras; read where pillow-heif is installed
OTHER_SUFFIXES = (  # of images that are not read, but told
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw"),  # raw files of cameras
    *(".dcm", ".dds", ".eps", ".exr", ".hdr", ".ico", ".j2k", ".jp2", ".jxl", ".pcx", ".psd", ".svg", ".tga"),
)
# that systems, network storages and photo managers make: thumbnails, bins, snapshots, and what archives of a Mac hold
SYSTEM_FOLDERS = {
    *("#recycle", "#snapshot", "@eadir", "@recently-snapshot", "@recycle", "@sharebin", "@tmp"),  # Synology, QNAP
    *("$recycle.bin", "recycled", "recycler", "system volume information", "found.000"),  # Windows
    *("__macosx", "network trash folder", "temporary items"),  # Mac
    *("lost+found",),  # Linux
}
SYSTEM_PREFIXES = (".", "@__")  # hidden ones; QNAP's thumbnails
# packages of photo managers, which hold smaller copies of images: by the end of the package's name, the folders left out of it
PHOTO_LIBRARIES = (".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary")  # of a Mac
COPIES_IN_LIBRARIES = ("resources", "database", "thumbnails", "private")  # beside originals/, or Masters/
PREVIEWS = ".lrdata"  # of Lightroom: nothing but previews
TRAIN_FOLDERS = ("train", "training")  # folders with these names are splits of a data set, not classes
HELD_OUT_FOLDERS = ("val", "valid", "validation", "dev", "eval", "test", "testing")
MAX_NAMED_FOLDERS = 5  # folders that cannot be read, and links that lead nowhere, that a message names


def suffixes() -> tuple[str, ...]:
    """Return the ends of names of the files that are read."""
    return (*SUFFIXES, *HEIF_SUFFIXES) if HEIF in formats() else SUFFIXES


def find_images(folder: Path, skip_folders_with: str | None = None, tell: bool = True) -> list[Path]:
    """Return the sorted image files anywhere under a folder; links are followed, hidden and `SYSTEM_FOLDERS` left out.

    So are the copies that photo managers keep of their images: previews, thumbnails, derivatives.

    A warning counts what else is left out: images of other formats, folders that cannot be read, links that lead nowhere.

    Args:
        folder: where to search.
        skip_folders_with: name of a file that marks subfolders to leave out.
        tell: whether to warn; False for a glance at images that are read afterwards.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: write folder:PATH, the folder that holds the images")
    read = suffixes()
    files: list[Path] = []
    other: Counter[str] = Counter()
    closed: list[str] = []
    lost: list[str] = []
    seen: set[str] = set()  # a link may lead back to a folder above it
    for path, folders, names in os.walk(folder, followlinks=True, onerror=lambda error: closed.append(error.filename)):
        real = os.path.realpath(path)
        if real in seen or (skip_folders_with in names and Path(path) != folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not (_is_of_the_system(name) or _holds_copies(name, path)))
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if _is_of_the_system(name):
                continue
            if suffix in read:
                file = Path(path, name)
                _add_file(file, files, lost)
            elif suffix in (*HEIF_SUFFIXES, *OTHER_SUFFIXES):
                other[suffix] += 1
    told = left_out(other, closed, lost)
    if not files:
        also = f". {told}" if told else ""
        raise FileNotFoundError(f"no images under {folder}: expected files named *{', *'.join(read)}{also}")
    if told and tell:
        warn(f"{folder}: {told}")
    return sorted(files)


def left_out(other: Counter[str], closed: Sequence[str], lost: Sequence[str]) -> str:
    """Describe what `find_images` left out, with the remedies; empty if that is nothing.

    Args:
        other: images of formats that are not read, by the end of their names.
        closed: folders that cannot be read.
        lost: links that lead nowhere.

    Example:
        >>> left_out(Counter({".heic": 10}), [], [])
        '10 files are left out, of formats that are not read (.heic): pip install pillow-heif reads .heic'
    """
    parts = []
    if other:
        heif = any(suffix in HEIF_SUFFIXES for suffix in other)
        remedies = ["pip install pillow-heif reads .heic"] if heif else []
        remedies += ["convert the others to JPEG or PNG"] if set(other).difference(HEIF_SUFFIXES) else []
        parts.append(
            f"{other.total()} files are left out, of formats that are not read ({', '.join(sorted(other))}): "
            f"{', '.join(remedies)}"
        )
    if closed:
        parts.append(
            f"{len(closed)} folders cannot be read ({_first(closed)}): give this user the permission to read them"
        )
    if lost:
        parts.append(f"{len(lost)} links lead to no file ({_first(lost)}): fetch what they lead to, or remove them")
    return ". ".join(parts)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMED_FOLDERS]) + (", ..." if len(names) > MAX_NAMED_FOLDERS else "")


def _add_file(file: Path, files: list[Path], lost: list[str]) -> None:
    """Add a path to the files, or to the links that lead nowhere; what is neither, as a pipe, is left out."""
    try:
        is_file = stat.S_ISREG(file.stat().st_mode)
    except PermissionError:  # its reader names it
        is_file = True
    except OSError:
        lost.append(str(file))
        return
    if is_file:
        files.append(file)


def _is_of_the_system(name: str) -> bool:
    return name.startswith(SYSTEM_PREFIXES) or name.lower() in SYSTEM_FOLDERS


def _holds_copies(name: str, parent: str) -> bool:
    """Whether a folder holds the smaller copies that a photo manager made of its images."""
    is_in_library = os.path.realpath(parent).lower().endswith(PHOTO_LIBRARIES)
    return name.lower().endswith(PREVIEWS) or (is_in_library and name.lower() in COPIES_IN_LIBRARIES)


def labels_and_held_out(files: Sequence[Path], folder: Path) -> tuple[list[str | None], list[int]]:
    """Return the label of each file, and the indices of the files that lie in a test folder.

    A label is the name of the file's top subfolder, or None. If all top subfolders are named as splits (train, test or the
    like), labels are the subfolders of those.

    Raises:
        ValueError: there is a test folder but none to train on, or images beside both, which could belong to either.

    Example:
        >>> names = "train/cat/1.png", "train/dog/2.png", "test/dog/3.png"
        >>> labels_and_held_out([Path("photos", name) for name in names], Path("photos"))
        (['cat', 'dog', 'dog'], [2])
    """
    parts = [file.relative_to(folder).parts for file in files]
    tops = {part[0].lower() if len(part) > 1 else "" for part in parts}
    has_both = not (tops.isdisjoint(TRAIN_FOLDERS) or tops.isdisjoint(HELD_OUT_FOLDERS))
    if has_both and (strays := tops.difference(TRAIN_FOLDERS, HELD_OUT_FOLDERS)):
        names = ", ".join(sorted(f"{name}/" if name else "single files" for name in strays))
        raise ValueError(
            f"{folder} has folders of images to train on and to test on, and beside them {names}: move those away, or name "
            f"the folder to train on, folder:{folder / TRAIN_FOLDERS[0]}"
        )
    if not tops <= {*TRAIN_FOLDERS, *HELD_OUT_FOLDERS}:
        return [_folder_label(part) for part in parts], []
    if tops.isdisjoint(TRAIN_FOLDERS):
        raise ValueError(
            f"all images of {folder} are held out, in {', '.join(sorted(tops))}: put those to train on into "
            f"{folder / TRAIN_FOLDERS[0]}, or name the folder of the images itself"
        )
    held_out = [i for i, part in enumerate(parts) if part[0].lower() in HELD_OUT_FOLDERS]
    return [_folder_label(part[1:]) for part in parts], held_out


def _folder_label(parts: tuple[str, ...]) -> str | None:
    return parts[0] if len(parts) > 1 else None
