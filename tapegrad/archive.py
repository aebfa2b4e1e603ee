"""Files of arrays: a zip of ``.npy`` entries and one text, written completely or not at all.

``np.load(path, allow_pickle=False)`` reads such a file too. Nothing in it is ever run, and
nothing is read into memory before its size is checked.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import numpy as np

from tapegrad.errors import FileError
from tapegrad.face.ownership import Array

FilePath: TypeAlias = "str | os.PathLike[str]"


@attrs.frozen
class Entry:
    """An entry of a file: its declared shape and dtype, and how to read it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]


def named(path: FilePath) -> str:
    """The name of a file, as text."""
    try:
        name = os.fsdecode(path)
        os.fsencode(name)
    except (TypeError, UnicodeError):
        raise TypeError(f"a path must be a str or a pathlib.Path; got {path!r}") from None
    return name


# --- reading ------------------------------------------------------------------------------


def guarded(path: FilePath, read: Callable[[Any], Any], writer: str) -> Any:
    """What `read` reads from a file, or one error that names the file.

    Parameters
    ----------
    path
        The file.
    read
        A function of the open file.
    writer
        The name in messages of what writes such files.
    """
    path = named(path)
    with open(path, "rb") as file:
        try:
            return read(file)
        except FileError as error:
            raise FileError(f"{path}: {error}") from None
        # a hostile file can raise anything: MemoryError, RecursionError, struct.error, ...
        except Exception as error:
            raise FileError(
                f"{path} is damaged, or was not written by {writer}: "
                f"{type(error).__name__}: {error}"
            ) from error


def entries_of(archive: zipfile.ZipFile, text: str) -> dict[str, Entry]:
    """The arrays of a zip by name; `text` is the name of the one entry that is not an array."""
    entries: dict[str, Entry] = {}
    for info in archive.infolist():
        if info.filename == text:
            continue
        name = info.filename.removesuffix(".npy")
        if name == info.filename or name in entries:
            raise FileError(f"{info.filename!r} is not an array, or occurs twice")
        entries[name] = _npy_entry(archive, info)
    return entries


def text_of(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The text of a zip, if it is not larger than `most` bytes."""
    with archive.open(name) as member:
        text = member.read(most + 1)
    if len(text) > most:
        raise FileError(f"its {name} is too large: more than {most:,} bytes")
    return text


def _npy_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    """The header of an array in a zip."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(member)
        start = member.tell()

    def read() -> Array:
        n_bytes = math.prod(shape) * dtype.itemsize
        with archive.open(info) as member:
            member.read(start)
            data = member.read(n_bytes)
            # the checksum is compared when the end is read
            if len(data) != n_bytes or member.read(1):
                raise FileError(f"{info.filename} differs from its declared size")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")

    return Entry(shape, dtype, read)


# --- writing ------------------------------------------------------------------------------


def write(path: FilePath, name: str, text: str, arrays: Mapping[str, Array]) -> None:
    """Write a text and arrays by name to a file; the same content gives the same bytes."""

    def fill(file: Any) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            # without the time of day
            archive.writestr(zipfile.ZipInfo(name), text)
            for key, x in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, x, allow_pickle=False)

    replace(path, fill)


def replace(path: FilePath, write: Callable[[Any], Any]) -> None:
    """Write a new file next to the old one, and replace that once all of it is on disk."""
    target = os.path.realpath(named(path))
    beside = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        with open(beside, "xb") as file:
            # as private as the file that it replaces
            with contextlib.suppress(FileNotFoundError):
                os.chmod(beside, stat.S_IMODE(os.stat(target).st_mode))
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
