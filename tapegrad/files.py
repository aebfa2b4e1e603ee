"""Trees in files: saved completely or not at all, and checked when they are loaded.

A file is an ``.npz``: a zip of one ``.npy`` for each leaf, named by its path, and
``metadata.json``. ``np.load(path, allow_pickle=False)`` reads it too. Nothing in a file is
ever run, and nothing is read into memory before its size is checked.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.errors import FileError
from tapegrad.errors.words import a_kind
from tapegrad.tree import Tree
from tapegrad.tree.numbers import refuse_unreal, require_64_bits
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Array

__all__ = ["load", "load_metadata", "save"]

Reader: TypeAlias = Callable[[], Any]
R = TypeVar("R")
FilePath: TypeAlias = "str | os.PathLike[str]"

_METADATA = "metadata.json"
_SAFETENSORS = ".safetensors"
_MOST_HEADER = 100_000_000  # bytes, by the format of safetensors
_MOST_METADATA = 1 << 24  # bytes
_MOST_PATH = (1 << 16) - 1 - len(".npy")  # bytes


def save(path: FilePath, tree: Any, /, **metadata: Any) -> None:
    """Write a tree of arrays to a file.

    It is written next to the file and then renamed: a crash leaves the old file intact.

    Parameters
    ----------
    path
        The file; it is replaced if there is one. If its name ends in ``.safetensors``, the package
        of that name writes it. ``.npz`` is appended to a name that ends in neither, as in NumPy.
    tree
        A tree of arrays and numbers, such as a dict of parameters, optimizer state and key.
    **metadata
        Values that JSON can hold, for `load_metadata`.

    Raises
    ------
    TypeError
        If a leaf is not an array of real numbers, with its path, or the metadata are not JSON.
    ValueError
        If two leaves have one path, or one is too long, no text, or the name of another entry.

    Examples
    --------
    >>> import tempfile
    >>> import tapegrad as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(f"{folder}/model.npz", {"w": np.ones(2)}, epoch=3)
    ...     tg.load(f"{folder}/model.npz", like={"w": np.zeros(2)})
    ...     tg.load_metadata(f"{folder}/model.npz")
    {'w': array([1., 1.])}
    {'epoch': 3}
    """
    package = _package(path)
    arrays = _arrays(tree, takes_complex=package is None)
    text = json.dumps(metadata, default=_plain)
    if len(text) > _MOST_METADATA:
        raise ValueError(f"metadata of {len(text):,} bytes are too large; save them as arrays")
    if package is not None:
        _refuse_name(arrays, "__metadata__")
        ordered = {name: np.asarray(x, order="C") for name, x in arrays.items()}
        packed = package.numpy.save(ordered, {"json": text})
        replace(path, lambda file: file.write(packed))
        return

    # NumPy finds an entry by its whole name first
    for entry in (_METADATA, *[f"{name}.npy" for name in arrays]):
        _refuse_name(arrays, entry)
    write(path, _METADATA, text, arrays)


def load(path: FilePath, like: Tree, partial: bool = False) -> Tree:
    """Read a tree from a file that `save` wrote.

    Parameters
    ----------
    path
        The file.
    like
        A tree of the same paths, shapes and dtypes, such as newly initialized parameters.
    partial
        Whether the file may hold more: only the leaves of `like` are read, such as the parameters
        of a training run without its optimizer.

    Returns
    -------
    A tree of the structure of `like` with the arrays of the file.

    Raises
    ------
    FileError
        If it is not such a file, is damaged, or does not match `like`; the message lists
        every difference.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tempfile
    >>> from pathlib import Path
    >>> params = tg.nn.Linear(3, 2).init(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(Path(folder) / "params.npz", params)
    ...     again = tg.load(Path(folder) / "params.npz", like=tg.nn.Linear(3, 2).init(1))
    >>> tg.tree.all_close(again, params, rtol=0, atol=0)
    True

    The parameters alone, of a file of more:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(f"{folder}/run.npz", {"params": {"w": np.ones(2)}, "state": np.zeros(9)})
    ...     tg.load(f"{folder}/run.npz", like={"params": {"w": np.zeros(2)}}, partial=True)
    {'params': {'w': array([1., 1.])}}
    """
    leaves, structure = tree.flatten(like)
    wanted = dict(zip(tree.structure_paths(structure), leaves, strict=True))
    if len(wanted) != len(leaves):
        raise ValueError("two leaves of the tree have one path")

    def read(contained: Reader, text: Reader) -> list[Any]:
        entries = contained()
        differences = _differences(wanted, entries, partial)
        if differences:
            raise FileError("; ".join(differences))
        return [_as(leaf, entries[name].read()) for name, leaf in wanted.items()]

    return tree.unflatten(structure, _opened(path, read))


def load_metadata(path: FilePath) -> dict[str, Any]:
    """Read the metadata from a file that `save` wrote.

    Raises
    ------
    FileError
        If it is not such a file.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(Path(folder) / "run.npz", {"w": np.ones(2)}, epoch=3)
    ...     tg.load_metadata(Path(folder) / "run.npz")
    {'epoch': 3}
    """

    def read(entries: Reader, text: Reader) -> dict[str, Any]:
        metadata = json.loads(text())
        if not isinstance(metadata, dict):
            raise FileError("its metadata are not a mapping of names to values")
        return metadata

    return _opened(path, read)


# --- reading ------------------------------------------------------------------------------


def _opened(path: FilePath, use: Callable[[Reader, Reader], R]) -> R:
    """The result of a function of two that read a file: its arrays by name, and its metadata."""
    package = _package(path)

    def read(name: str, file: Any) -> R:
        if package is None:
            with zipfile.ZipFile(file) as archive:
                return use(
                    lambda: entries_of(archive, _METADATA),
                    lambda: text_of(archive, _METADATA, _MOST_METADATA),
                )
        with package.safe_open(name, framework="np") as opened:
            return use(
                lambda: {name: _safetensors_entry(opened, name) for name in opened.keys()},  # noqa: SIM118
                lambda: (opened.metadata() or {}).get("json", "{}"),
            )

    return guarded(path, read, "tapegrad.save")


def _package(path: FilePath) -> Any:
    """The package that writes and reads a file; None for a zip."""
    if not named(path).endswith(_SAFETENSORS):
        return None
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files that end in .safetensors need the package of that name: "
            "pip install safetensors, or name the file .npz"
        ) from error
    return safetensors


# the names that the format has for what NumPy has
_SAFE_DTYPES = {
    **{f"F{8 * n}": f"f{n}" for n in (2, 4, 8)},
    **{f"{kind}{8 * n}": f"{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)},
    "BOOL": "?",
}


def _safetensors_entry(opened: Any, name: str) -> Entry:
    part = opened.get_slice(name)
    dtype = _SAFE_DTYPES.get(part.get_dtype())
    if dtype is None:
        raise FileError(f"{name} is of the dtype {part.get_dtype()}")
    return Entry(tuple(part.get_shape()), np.dtype(dtype), lambda: opened.get_tensor(name))


def _differences(
    wanted: Mapping[str, Any], entries: Mapping[str, Entry], partial: bool
) -> list[str]:
    """The differences between a file and the wanted tree, each in a few words."""
    differences = []
    for name, leaf in wanted.items():
        entry = entries.get(name)
        if entry is None:
            differences.append(f"{name!r} is missing")
            continue
        shape, dtype = np.shape(leaf), _dtype(leaf)
        if (entry.shape, entry.dtype.newbyteorder("=")) != (shape, dtype.newbyteorder("=")):
            differences.append(
                f"{name!r} is {entry.dtype} {entry.shape}; {dtype} {shape} is expected"
            )
    more = [] if partial else [name for name in entries if name not in wanted]
    differences += [f"{name!r} is not in the tree" for name in more]
    if more:
        differences.append("with partial=True only what the tree has is read")
    return differences


def _as(leaf: Any, x: Array) -> Any:
    """An array of a file as the leaf it stands for: an array or a Python number."""
    if type(leaf) in (bool, int, float, complex):
        return x.item()
    return readonly_array(x.astype(_dtype(leaf), order="K"))


# --- writing ------------------------------------------------------------------------------


def _arrays(tree_: Any, takes_complex: bool) -> dict[str, Array]:
    """The leaves by their paths."""
    leaves, structure = tree.flatten(tree_)
    arrays: dict[str, Array] = {}
    for path, x in zip(tree.structure_paths(structure), leaves, strict=True):
        if path in arrays:
            raise ValueError(f"two leaves have the path {path!r}")
        if not isinstance(x, np.ndarray | np.generic | bool | int | float | complex):
            rule = "only arrays and numbers can be saved, and JSON values as metadata"
            raise TypeError(
                f"save(path, tree): {path or 'the leaf'} is {a_kind(x)}; "
                f"{getattr(x, '__unsaved__', rule)}"
            )
        refuse_unreal(f"save: {path or 'the leaf'}", [x], takes_complex)
        require_64_bits(x, f"save: {path or 'the leaf'}")
        _check_entry(path)
        arrays[path] = np.asarray(x)
    return arrays


def _refuse_name(arrays: Mapping[str, Array], entry: str) -> None:
    """Raise if a leaf has the name of another entry of its file."""
    if entry in arrays:
        raise ValueError(
            f"the path {entry!r} is the name of another entry of the file; rename that key"
        )


def _check_entry(path: str) -> None:
    """Raise unless a zip can hold an entry of this name, and give it back."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the path {path!r} must be text that UTF-8 can hold") from None
    if "\0" in path:
        raise ValueError(f"the path {path!r} must not hold a NUL")
    if size > _MOST_PATH:
        raise ValueError(f"the path {path[:20]!r}... of {size:,} bytes is too long for a file")


def _plain(x: Any) -> Any:
    """NumPy's numbers and arrays, which JSON does not know."""
    if isinstance(x, np.generic | np.ndarray):
        return x.tolist()
    raise TypeError(f"metadata must be JSON values; {x!r} is not")


def _dtype(x: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    return dtype


# --- archives: a zip of `.npy` entries and one text ------------------------------------------


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


def guarded(path: FilePath, read: Callable[[str, Any], R], writer: str) -> R:
    """The result of `read` on a file, or one error that names the file.

    Parameters
    ----------
    path
        The file, with or without the ``.npz`` that writing may have appended.
    read
        A function of the file's name and of the open file.
    writer
        The name in messages of what writes such files.
    """
    name = named(path)
    path = with_suffix(name) if os.path.exists(with_suffix(name)) else name
    with open(path, "rb") as file:
        try:
            return read(path, file)
        except FileError as error:
            raise FileError(f"{path}: {error}") from None
        # a hostile file can raise anything: MemoryError, RecursionError, struct.error, ...
        except Exception as error:
            if is_cut_short(file):
                raise FileError(
                    f"{path} is damaged: it is cut short, as by a copy or a download that was "
                    "interrupted; copy it again"
                ) from error
            raise FileError(
                f"{path} is damaged, or was not written by {writer}: "
                f"{type(error).__name__}: {error}"
            ) from error


def with_suffix(name: str) -> str:
    """The name under which a file is written: ``.npz`` is appended if no known suffix is there."""
    return name if name.endswith((".npz", _SAFETENSORS)) else f"{name}.npz"


def is_cut_short(file: Any) -> bool:
    """Whether a file begins as a zip or a safetensors file does, and lacks its end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(8)
    if start.startswith(b"PK\3\4"[:size]):
        return not zipfile.is_zipfile(file)
    # the format: eight bytes for the length of a header in JSON, the header, the numbers
    header_size = int.from_bytes(start, "little")
    if not file.name.endswith(_SAFETENSORS) or header_size > _MOST_HEADER:
        return False
    if size < 8 + header_size:
        return True
    with contextlib.suppress(Exception):
        header = json.loads(file.read(header_size))
        ends = [x["data_offsets"][1] for key, x in header.items() if key != "__metadata__"]
        return bool(size < 8 + header_size + max(ends, default=0))
    return False


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
    target = os.path.realpath(with_suffix(named(path)))
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
