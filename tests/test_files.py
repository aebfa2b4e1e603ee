"""A saved tree is loaded bit for bit or raises; loading never runs code from a file."""

import contextlib
import io
import json
import os
import stat
import struct
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alike import same_bits
from depth import depth
from hypothesis import example, given
from hypothesis import strategies as st
from messages import Refusal, check_refusals, message_of
from trees import CHARACTERS, Params

import tapegrad as tg
from tapegrad.testing import arrays
from tapegrad.types import Array, PyTree

KINDS = ["npz", "safetensors"]


@pytest.fixture(params=KINDS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "safetensors":
        pytest.importorskip("safetensors")
    return tmp_path / f"model.{request.param}"


def make_tree() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "layers": [Params(rng.standard_normal((3, 4)), np.float32([1, np.nan, -0.0])), None],
        "key": tg.random.key(3),
        "state": tg.optim.Adam(0.1).init({"w": np.ones(2), "b": np.ones((), np.float32)}),
        "step": np.array(7),
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 2), np.float16),
        "rate": 0.1,
        "epoch": 2**40,
        "done": False,
    }


def zeros_like(tree: dict[str, Any]) -> dict[str, Any]:
    return tg.tree.map(
        lambda x: type(x)(0) if type(x) in (int, float, bool) else np.zeros_like(x), tree
    )


def is_same_tree(a: PyTree, b: PyTree) -> bool:
    types = [[type(x) for x in tg.tree.leaves(tree)] for tree in (a, b)]
    return same_bits(a, b) and types[0] == types[1]


def test_loaded_tree_is_same_as_saved(file: Path) -> None:
    tree = make_tree()
    tg.save(file, tree, epoch=3, path="a", tree=[1, None, "ü"], loss=np.float32(0.5))
    again = tg.load(file, like=zeros_like(tree))
    assert is_same_tree(again, tree)
    assert not any(x.flags.writeable for x in tg.tree.leaves(again) if isinstance(x, np.ndarray))
    metadata = {"epoch": 3, "path": "a", "tree": [1, None, "ü"], "loss": 0.5}
    assert tg.load_metadata(str(file)) == metadata
    # the same tree is the same file
    first = file.read_bytes()
    tg.save(file, tree, **metadata)
    assert file.read_bytes() == first
    assert [x.name for x in file.parent.iterdir()] == [file.name]


@given(st.data())
def test_loaded_array_has_same_bits(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.npz"
    x = data.draw(arrays())
    for tree in (x, {"": x}, [x, np.asfortranarray(x), x.T, np.asarray(x)[..., None]]):
        tg.save(path, tree)
        assert is_same_tree(tg.load(path, tree), tg.tree.map(np.asarray, tree))


def test_numpy_reads_and_writes_compatible_files(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    tg.save(path, make_tree(), note="x")
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == {*tg.tree.paths(make_tree()), "metadata.json"}
        np.testing.assert_array_equal(archive["layers.0.weight"], make_tree()["layers"][0].weight)
        # read through the zip file: NumPy 2.3.0 fails to read an entry that is no array
        assert json.loads(archive.zip.read("metadata.json")) == {"note": "x"}
    for save in (np.savez, np.savez_compressed):
        save(path, w=np.arange(3.0, dtype=">f8"), b=np.ones(()))
        got = tg.load(path, {"w": np.zeros(3), "b": np.zeros(())})
        assert is_same_tree(got, {"w": np.arange(3.0), "b": np.ones(())})


# --- trees that differ and unsupported leaves -----------------------------------------------


def test_load_error_names_every_difference(file: Path) -> None:
    tg.save(file, {"a": np.ones(2), "b": np.ones(3), "c": np.ones(2), "d": np.ones(1)})
    like = {"a": np.ones(2, np.float32), "b": np.ones((3, 1)), "c": np.ones(2), "e": np.ones(1)}
    parts = ["'a' is float64 (2,); float32 (2,)", "'b' is float64 (3,); float64 (3, 1)"]
    parts += [str(file), "'e' is missing", "'d' is not in the tree"]
    message = message_of(tg.FileError, lambda: tg.load(file, like), *parts)
    assert "'c'" not in message
    assert issubclass(tg.FileError, ValueError)


UNSUPPORTED: list[tuple[type[Exception], Any, str]] = [
    (TypeError, {"a": ["text"]}, "a.0 is a str"),
    (TypeError, {"f": len}, "f is a builtin"),
    (TypeError, np.array([object()]), "object"),
    (TypeError, {"t": np.array("text")}, "<U4"),
    (ValueError, {"a.b": 1.0, "a": {"b": 2.0}}, "'a.b'"),
    (TypeError, {"a": [2**63, 2**64]}, "a.1 must be an integer of at most 64 bits"),
    (TypeError, {"a": -(10**400)}, "a must be an integer"),
    # arrays that a tape rejects too
    (TypeError, {"w": np.ma.array([1.0, 2.0], mask=[True, False])}, "w"),
    (TypeError, {"w": np.ones((1, 1)).view(np.matrix)}, "w"),
    (TypeError, {"w": np.zeros(2, "M8[s]")}, "w"),
]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_failed_save_names_leaf_and_leaves_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any) -> None:
        raise KeyboardInterrupt

    tg.save(file, 1.0)
    before = file.read_bytes()
    for kind, tree, part in UNSUPPORTED:
        message_of(kind, lambda tree=tree: tg.save(file, tree), part)
    message_of(TypeError, lambda: tg.save(file, 2.0, f=len), "JSON")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, crash)
            with pytest.raises(KeyboardInterrupt):
                tg.save(file, np.zeros(3))
    assert file.read_bytes() == before
    assert [x.name for x in file.parent.iterdir()] == [file.name]


def test_save_keeps_symlinks_and_file_modes(tmp_path: Path) -> None:
    (tmp_path / "model.npz").symlink_to("there.npz")
    (tmp_path / "plain").write_bytes(b"")
    tg.save(tmp_path / "model.npz", 1.0)
    assert (tmp_path / "model.npz").is_symlink()
    assert tg.load(tmp_path / "there.npz", 0.0) == 1.0
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("there.npz", "plain")]
    assert modes[0] == modes[1]
    (tmp_path / "there.npz").chmod(0o600)
    tg.save(tmp_path / "model.npz", 2.0)
    assert stat.S_IMODE((tmp_path / "there.npz").stat().st_mode) == 0o600


def test_missing_safetensors_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    calls = (
        partial(tg.save, path, 1.0),
        partial(tg.load, path, 1.0),
        partial(tg.load_metadata, path),
    )
    check_refusals((ImportError, call, "pip install safetensors") for call in calls)


# --- damaged and hostile files ------------------------------------------------------------------

LIKE = {"w": np.zeros((4, 4)), "b": np.zeros(4)}


def load_error(path: Path, like: dict[str, Array] = LIKE) -> str:
    return message_of(tg.FileError, lambda: tg.load(path, like), str(path))


def test_error_for_truncated_file_says_cut_short(file: Path) -> None:
    tg.save(file, LIKE, note="x")
    whole = file.read_bytes()
    for n in [*range(0, len(whole), 7), len(whole) - 1]:
        file.write_bytes(whole[:n])
        assert "cut short" in load_error(file)
    file.write_bytes(whole + b"\0" * 100_000)
    with contextlib.suppress(tg.FileError):
        tg.load(file, LIKE)
    file.write_bytes(b"some text" * 20)
    assert "cut short" not in load_error(file)


@pytest.mark.parametrize("name", ["model", "model.v1", "model.npz", "model.npy"])
def test_save_names_file_as_numpy_does(tmp_path: Path, name: str) -> None:
    for folder in ("ours", "numpys"):
        (tmp_path / folder).mkdir()
    tg.save(tmp_path / "ours" / name, LIKE, note="x")
    np.savez(tmp_path / "numpys" / name, **LIKE)
    files = [os.listdir(tmp_path / folder) for folder in ("ours", "numpys")]
    assert files[0] == files[1]
    for path in (tmp_path / "ours" / name, tmp_path / "ours" / files[0][0]):
        assert is_same_tree(tg.load(path, LIKE), LIKE)
        assert tg.load_metadata(path) == {"note": "x"}
    # a file without the suffix, from an older version, is read unless a newer one exists
    os.rename(tmp_path / "ours" / files[0][0], tmp_path / "ours" / "older")
    assert is_same_tree(tg.load(tmp_path / "ours" / "older", LIKE), LIKE)
    tg.save(tmp_path / "ours" / "older", {**LIKE, "b": np.ones(4)})
    assert tg.load(tmp_path / "ours" / "older", LIKE)["b"].all()


@given(st.data())
def test_file_with_changed_byte_loads_right_or_raises(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("changed") / "a.npz"
    tree = {"w": np.arange(16.0).reshape(4, 4), "b": np.ones(4)}
    tg.save(path, tree, note="x")
    whole = bytearray(path.read_bytes())
    for _ in range(8):
        i = data.draw(st.integers(0, len(whole) - 1))
        changed = whole.copy()
        changed[i] ^= data.draw(st.integers(1, 255))
        path.write_bytes(changed)
        with contextlib.suppress(tg.FileError):
            assert is_same_tree(tg.load(path, LIKE), tree)


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + data


def write_zip(
    path: Path, *entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)


def as_npy(x: Array, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, x, **options)
    return file.getvalue()


def header(shape: str, descr: str = "<f8") -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}"


W, B = ("w.npy", as_npy(LIKE["w"])), ("b.npy", as_npy(LIKE["b"]))
# entries in place of w
HOSTILE_ARRAYS = {
    "text": b"no array",
    "a huge shape": npy(header("(10000000, 10000000)")),
    "too little data": npy(header("(4, 4)"), b"\0" * 127),
    "too much data": npy(header("(4, 4)"), b"\0" * 129),
    "a header that is code": npy("__import__('os').abort()"),
    "a deep header": npy("(" * 5000),
    "an unknown dtype": npy(header("(4, 4)", "<q9")),
}
# all entries of a file
HOSTILE = {
    "no arrays": [("w", b""), ("b", b"")],
    "a path out of the folder": [W, B, ("../w.npy", W[1])],
    "twice": [W, B, W],
    **{name: [B, ("w.npy", content)] for name, content in HOSTILE_ARRAYS.items()},
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_file_raises(tmp_path: Path) -> None:
    for name, entries in HOSTILE.items():
        path = tmp_path / f"{name}.npz"
        write_zip(path, *entries)
        load_error(path)


def test_pickled_object_in_file_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "trap.npz"
    write_zip(path, B, ("w.npy", as_npy(np.array([Trap()], object), allow_pickle=True)))
    assert "object" in load_error(path)
    load_error(path, {"w": np.zeros(1, object), "b": np.zeros(4)})
    assert not (tmp_path / "sprung").exists()


@pytest.mark.thorough
def test_zip_bomb_is_not_decompressed_beyond_expected_size(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    bomb = npy(header("(4, 4)")) + bytes(1 << 27)
    write_zip(path, B, ("w.npy", bomb), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    load_error(path)
    write_zip(path, W, B, ("metadata.json", b" " * (1 << 25)), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(tg.FileError, match="too large"):
        tg.load_metadata(path)


@depth("batch")
@given(
    key=st.text(CHARACTERS, min_size=1)
    | st.text(st.characters(categories=["Cs", "Cc"]), min_size=1)
)
@example("nul\0nul")
@example("\ud800")
@example("k" * 65_531)
@example("k" * 65_532)
@example("\u00e9" * 40_000)
def test_dict_key_is_loaded_or_named_by_error(key: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/keys.npz"
        size = len(key.encode(errors="replace"))
        if "\0" in key or size > 65_531 or "\ud800" <= max(key) <= "\udfff":
            with pytest.raises(ValueError, match=r"^the path ") as error:
                tg.save(path, {key: np.ones(2)})
            assert repr(key)[:9] in str(error.value)
            assert not os.path.exists(path)
        else:
            tg.save(path, {key: np.ones(2)})
            assert is_same_tree(tg.load(path, {key: np.zeros(2)}), {key: np.ones(2)})


@depth("batch")
@given(st.lists(st.sampled_from(["metadata", "__metadata__", "w", "json", "npy"]), min_size=2))
@example(["metadata", "json", "metadata"])
def test_name_is_read_alike_by_numpy_or_save_raises(words: list[str]) -> None:
    names = {".".join(words[:n]) for n in (1, 2, 3)}
    tree = {name: np.array(float(i)) for i, name in enumerate(sorted(names))}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/names.npz"
        entry_names = {"metadata.json", *[f"{name}.npy" for name in names]}
        if entry_names & names:
            with pytest.raises(ValueError, match="is the name of another entry"):
                tg.save(path, tree, epoch=3)
            return
        tg.save(path, tree, epoch=3)
        assert tg.tree.all_close(tg.load(path, tree), tree)
        with np.load(path, allow_pickle=False) as entries:
            assert all(entries[name] == x for name, x in tree.items())


def test_complex_numbers_are_saved_but_not_in_safetensors(tmp_path: Path) -> None:
    tree = {"z": np.array([[1 + 2j, -1j]], np.complex64), "w": np.ones(2) * 1j, "n": 1 - 2j}
    # a path may be bytes
    path = os.fsencode(tmp_path / "z.npz")
    tg.save(path, tree, epoch=3)
    assert is_same_tree(tg.load(path, like=tree), tree)
    assert tg.load_metadata(path) == {"epoch": 3}
    with pytest.raises(ValueError, match="complex64"):
        tg.load(path, like={**tree, "z": np.ones((1, 2))})
    pytest.importorskip("safetensors")
    with pytest.raises(TypeError, match="z: an operand is complex64"):
        tg.save(tmp_path / "z.safetensors", tree)
    with pytest.raises(ValueError, match="'__metadata__' is the name of another entry"):
        tg.save(tmp_path / "names.safetensors", {"__metadata__": np.ones(2)})


def test_wrong_or_missing_paths_raise(tmp_path: Path) -> None:
    refusals: list[Refusal] = []
    for wrong in (3, None, "\ud800"):
        refusals += [
            (TypeError, partial(tg.save, wrong, 1.0), "a path must be"),
            (TypeError, partial(tg.load, wrong, 1.0), "a path must be"),
        ]
    for load in (partial(tg.load, like=1.0), tg.load_metadata):
        refusals += [
            (FileNotFoundError, partial(load, tmp_path / "none.npz"), "none.npz"),
            (OSError, partial(load, tmp_path), str(tmp_path)),
        ]
    check_refusals(refusals)


def test_malformed_metadata_raise_and_arrays_still_load(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    for text in ("[1]", "{", "nonsense", "[" * 100_000):
        write_zip(path, W, B, ("metadata.json", text.encode()))
        message_of(tg.FileError, lambda: tg.load_metadata(path), "bad.npz")
        assert is_same_tree(tg.load(path, LIKE), LIKE)
    write_zip(path, W, B)
    message_of(tg.FileError, lambda: tg.load_metadata(path), "metadata.json")


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@depth("file, in part")
@given(data=st.data())
def test_partial_load_reads_part_of_file(suffix, data):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    names = data.draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True))
    selected = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    tree = {name: {"w": np.full(i, float(i))} for i, name in enumerate(names, 1)}
    part = {name: tree[name] for name in selected}
    like = tg.tree.map(np.zeros_like, part)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"run.{suffix}"
        tg.save(path, tree)
        assert tg.tree.all_close(tg.load(path, like=like, partial=True), part, rtol=0, atol=0)
        if len(selected) < len(names):
            with pytest.raises(tg.FileError, match="partial=True"):
                tg.load(path, like=like)
        with pytest.raises(tg.FileError, match="'g' is missing"):
            tg.load(path, like={**like, "g": 1.0}, partial=True)
