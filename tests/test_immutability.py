"""No array changes: neither the caller's nor the package's.

An argument is copied, unless it is marked as the package's; a result is a read-only view of
read-only memory.
"""

import copy
import pickle
from itertools import product
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from tampering import is_locked, vandalize
from tapes import check_tape

import tapegrad as tg
from tapegrad.tree.ownership import LARGE, owned_copy, readonly_array, readonly_view
from tapegrad.types import Array, PyTree

# below and above the size from which the package's arrays are shared
SIZES = (6, LARGE // 8 + 2)


def leaf_bytes(tree: PyTree) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in tg.tree.leaves(tree)]


# --- arguments ------------------------------------------------------------------------------


def read_only_view(a: Array) -> Array:
    view = a[:]
    view.setflags(write=False)
    return view


def read_only_owner(a: Array) -> tuple[Array, Array]:
    view = a[:]
    a.setflags(write=False)
    return a, view


# functions of an array: the array that the caller passes, and an array that writes to its memory
MEMORY: dict[str, Any] = {
    "plain": lambda a: (a, a),
    "view": lambda a: (a[::-1], a),
    "read-only view": lambda a: (read_only_view(a), a),
    "read-only owner of a writeable view": read_only_owner,
    "foreign memory": lambda a: (np.asarray(memoryview(a).toreadonly()), a),
    "Fortran's order": lambda a: (np.asfortranarray(a.reshape(2, -1)),) * 2,
}


@tg.custom_op(vjps=(lambda g, y, x, scale: g * scale["by"][0],))
def scale_by_option(x, *, scale):
    return x * scale["by"][0]


def delayed_pullback(fn, shape):
    """Return a function that computes a function's result and gradients."""
    output, pullback = tg.vjp(fn, np.ones(shape))
    return lambda: (output, pullback(np.ones(shape)))


def delay(x):
    return lambda: x


def as_operand(a):
    tape, x = tg.Tape().parameter(np.full(a.shape, 2.0))
    tape, y = tape.write(tg.multiply, x, a)
    return lambda: tg.reverse_sweep(tape, y, cotangent=np.ones(a.shape))[x]


def as_argument(a):
    _, pullback = tg.vjp(lambda x: tg.sum(x * x), a)
    return lambda: pullback(1.0)[0]


def as_default(a):
    def fn(x, w=a, *, more=([a],)):
        return x * w * more[0][0]

    op = tg.custom_op(vjps=(lambda g, y, x, w, more: g * w * more[0][0],))(fn)
    return delayed_pullback(op, a.shape)


def as_constant(a):
    step = tg.compile(lambda x: x * a)
    step(np.ones(a.shape))
    return lambda: (step(np.ones(a.shape)), step.program(np.ones(a.shape)).constants[0].value)


# functions of an array that return a function to call after the array has changed
TRANSFORMS: dict[str, Any] = {
    "operand": as_operand,
    "argument": as_argument,
    "default": as_default,
    "captured": as_constant,
    "option": lambda a: delayed_pullback(lambda x: scale_by_option(x, scale={"by": [a]}), a.shape),
    "result": lambda a: delayed_pullback(
        tg.custom_op(vjps=(lambda g, y, x: g * y,))(lambda x: a), a.shape
    ),
    "cotangent": lambda a: delay(
        delayed_pullback(tg.custom_op(vjps=(lambda g, y, x: a,))(np.sin), a.shape)()
    ),
    "vjp result": lambda a: delayed_pullback(
        tg.custom_vjp(lambda g, y, x: (g * y,))(lambda x: a), a.shape
    ),
    "vjp cotangent": lambda a: delay(
        delayed_pullback(tg.custom_vjp(lambda g, y, x: (a,))(lambda x: x * 1), a.shape)()
    ),
    "vjp keyword": lambda a: delayed_pullback(
        lambda x: tg.custom_vjp(lambda g, y, x, w: (g * w,))(lambda x, w: x * w)(x, w=a), a.shape
    ),
    "checkpoint": lambda a: delayed_pullback(
        lambda x: tg.checkpoint(lambda x, w: tg.sin(x * w["w"]))(x, {"w": a}), a.shape
    ),
    "compiled": lambda a: delay(tg.compile(lambda x: (x, x * 2))(a)),
    "direction": lambda a: delay(tg.hvp(lambda x: tg.sum(tg.sin(x)), (np.ones(a.shape),), (a,))),
    "seed": lambda a: delay(tg.vjp(lambda x: x, np.ones(a.shape))[1](a)),
    "tangent": lambda a: delay(tg.jvp(lambda x: (x, x), (np.ones(a.shape),), (a,))),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_call_leaves_arguments_unchanged_and_ignores_later_writes(name):
    transform, seen = TRANSFORMS[name], []
    for n in SIZES:
        for memory_name, memory in MEMORY.items():
            expected = leaf_bytes(transform(memory(np.linspace(0.5, 1, n))[0].copy("K"))())
            a, changed = memory(np.linspace(0.5, 1, n))
            before, flags = leaf_bytes(a), (a.flags.writeable, changed.flags.writeable)
            delayed = transform(a)
            kept = leaf_bytes(a) == before
            changed[...] = 10.0
            kept = kept and (a.flags.writeable, changed.flags.writeable) == flags
            if leaf_bytes(delayed()) != expected or not kept:
                seen.append((memory_name, n))
    assert not seen


def test_index_is_copied_from_callers_array():
    index, mask = np.array([0, 0, 2]), np.array([True, False, True])
    _, pullback = tg.vjp(lambda x: tg.index_select(x[index], index)[mask], np.ones(3))
    want = pullback(np.ones(2))[0].tolist()
    index[:], mask[:] = 1, True
    assert pullback(np.ones(2))[0].tolist() == want


@pytest.mark.parametrize("n", SIZES)
def test_unpickled_tape_shares_no_memory_with_its_buffers(n):
    tape, x = tg.Tape().parameter(np.linspace(0.5, 1, n))
    tape, _ = tape.write(tg.multiply, x, np.linspace(1, 2, n))
    expected = leaf_bytes([r.value for r in tape])
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(tape, protocol=5, buffer_callback=buffers.append)
    memory = [bytearray(b.raw()) for b in buffers]
    again = pickle.loads(text, buffers=memory)
    for b in memory:
        b[:] = bytes(len(b))
    assert leaf_bytes([r.value for r in again]) == expected
    check_tape(again)


# --- options -------------------------------------------------------------------------------


class Settings:
    by = 2.0


class Hashed(Settings):
    def __eq__(self, other):
        return self.by == other.by

    def __hash__(self):
        return hash(self.by)


def test_mutable_option_is_copied_or_raises():
    op = tg.custom_op(vjps=(lambda g, y, x, settings: g * settings.by,))(
        lambda x, *, settings: x * settings.by
    )
    fn = tg.custom_vjp(lambda g, y, x, settings: (g * settings.by, None))(
        lambda x, settings: x * settings.by
    )
    for settings in (Settings(), Hashed()):
        for call in (lambda x, s=settings: op(x, settings=s), lambda x, s=settings: fn(x, s)):
            settings.by = 2.0
            _, pullback = tg.vjp(call, 1.0)
            settings.by = 100.0
            assert pullback(1.0) == (2.0,)
    with pytest.raises(TypeError, match="an option is a generator"):
        tg.grad(lambda x: op(x, settings=iter(i for i in "ab")))(1.0)


# --- results --------------------------------------------------------------------------------


def make_outputs(n: int) -> dict[str, Any]:
    """Return results of every kind that the package returns, by name."""
    x = np.linspace(0.5, 1, n)
    matrix = x.reshape(2, -1)
    record_output, tape = tg.record(lambda x: (x, x.T, tg.sin(x), tg.sum(x)))(matrix)
    output, pullback = tg.vjp(lambda a, b: (a + b, a.reshape(-1)), matrix, matrix)
    model = tg.nn.Linear(n, 3)
    params = model.init(0)
    optimizer = tg.optim.SGD(0.1, momentum=0.9)
    step = tg.compile(lambda p, x: ((y := p * x), y, y[1:], y.T, p, x.T, np.ones(n), tg.sum(p)))
    weights = np.linspace(1, 2, n)
    program = tg.compile(lambda p: p * weights).program(x)
    return {
        "values": [r.value for r in record_output],
        "parameter": tg.Tape().parameter(x)[1].value,
        "number": tg.Tape().parameter(1.0)[1].value,
        "sweep": dict(tg.reverse_sweep(tape, record_output[2], np.ones(matrix.shape))),
        "vjp": (output, pullback((np.ones(matrix.shape), np.ones(n)))),
        "gradients": tg.grad(lambda a, b: tg.sum(a + b), argnums=(0, 1))(x, x),
        "value_and_grad": tg.value_and_grad(lambda x: (tg.sum(x), x * 2), has_aux=True)(x),
        "jvp": tg.jvp(lambda x: (x, x, x * 2, 1.0), (x,), (x,)),
        "hvp": tg.hvp(lambda x: tg.sum(x**3), (x,), (x,)),
        "jacobian": tg.jacobian(lambda x: x[:3] * 2)(x),
        "parameters": params,
        "optimizer": optimizer.update(params, params, optimizer.init(params)),
        "sums of squares": tg.optim.Adagrad(0.1, initial=0.5).init(params),
        "compiled": step(x, x),
        "compiled again": step(x, matrix.reshape(-1)),
        "constants": [c.value for c in program.constants],
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("n", SIZES)
def test_outputs_are_read_only_views_of_separate_read_only_memory(n):
    for name, results in make_outputs(n).items():
        leaves = tg.tree.leaves(results) if name != "sweep" else list(results.values())
        for i, x in enumerate(leaves):
            assert is_locked(x), name
            others = [y for j, y in enumerate(leaves) if j != i]
            before = [(y.tobytes(), y.shape, y.dtype) for y in others]
            vandalize(x)
            assert [(y.tobytes(), y.shape, y.dtype) for y in others] == before, name
            leaves[i] = np.zeros(())


def read_tape(a, seen):
    output, tape = tg.record(lambda x: scale_by_option(x * a, scale={"by": [a]}))(a)
    seen += [*tape[1].operands[1:], *tape.last.options["scale"]["by"]]
    for step in tg.sweep_steps(tape, output, a):
        seen += [step.cotangent]
        for c in step.contributions:
            seen += [c.cotangent, c.summed]
    return lambda: tg.reverse_sweep(tape, output, np.ones(a.shape))[tape.parameters[0]]


def read_parts(a, seen):
    def square_twice(x):
        return tg.scan(lambda c, _: (c * c, c), x, length=2)[0]

    output, tape = tg.record(square_twice)(a)
    for record in tape:
        seen += [record.value] if type(record.primal) is np.ndarray else record.primal.values
    check_tape(tape)
    return lambda: tg.reverse_sweep(tape, output, np.ones(a.shape))[tape.parameters[0]]


def read_custom_op(a, seen):
    def rule(g, y, x, scale):
        seen.extend([g, y, x, scale["by"][0]])
        return g * scale["by"][0]

    @tg.custom_op(vjps=(rule,))
    def op(x, *, scale):
        seen.extend([x, scale["by"][0]])
        return x * scale["by"][0]

    _, pullback = tg.vjp(lambda x: op(x, scale={"by": [a]}), a)
    step = tg.compile(tg.grad(lambda x: tg.sum(op(x, scale={"by": (a,)}))))
    return lambda: (pullback(a.copy()), step(a.copy()))


def read_custom_vjp(a, seen):
    def backward(g, y, x, w):
        seen.extend([g[0], *y, x, w])
        return g[0] * w, None

    @tg.custom_vjp(backward)
    def fn(x, w):
        seen.extend([x, w])
        return x * w, w

    output, pullback = tg.vjp(lambda x: fn(x, np.arange(a.size)), a)
    seen.append(output[1])
    return lambda: pullback((np.ones(a.shape), None))


def read_checkpoint(a, seen):
    @tg.checkpoint
    def fn(x, w):
        seen.append(w)
        return x * w

    _, pullback = tg.vjp(lambda x: fn(x, np.arange(a.size)), a)
    return lambda: pullback(np.ones(a.shape))


READERS = (read_tape, read_parts, read_custom_op, read_custom_vjp, read_checkpoint)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("read", READERS)
def test_writing_to_arrays_of_a_record_never_changes_it(read, n):
    seen: list[Any] = []
    delayed = read(np.linspace(0.5, 1, n), seen)
    expected = leaf_bytes(delayed())
    arrays = [x for x in seen if type(x) is np.ndarray]
    assert arrays
    for x in arrays:
        assert is_locked(x)
        vandalize(x)
    assert leaf_bytes(delayed()) == expected


# transforms that return the result of a function of one number
RESULTS: dict[str, Any] = {
    "record": lambda f: tg.record(f)(1.0)[0],
    "record inside another": lambda f: tg.record(lambda x: tg.record(f)(x)[0])(1.0)[0],
    "vjp": lambda f: tg.vjp(f, 1.0)[0],
    "jvp": lambda f: tg.jvp(f, (1.0,), (1.0,))[0],
    "linearize": lambda f: tg.linearize(f, 1.0)[0],
    "value_and_grad": lambda f: tg.value_and_grad(lambda x: (x, f(x)), has_aux=True)(1.0)[0][1],
    "value_and_jacobian": lambda f: tg.value_and_jacobian(f)(1.0)[0],
    "compile": lambda f: tg.compile(f)(1.0),
    "vmap": lambda f: tg.vmap(f, out_axes=None)(np.ones(2)),
    "checkpoint": lambda f: tg.vjp(tg.checkpoint(f), 1.0)[0],
    "custom_vjp": lambda f: tg.vjp(tg.custom_vjp(lambda g, y, x: (0.0,))(f), 1.0)[0],
}


def test_plain_array_returned_by_a_function_is_copied() -> None:
    for transform, n in product(RESULTS, (0, *SIZES)):
        kept = np.ones(n or ())
        (result,) = RESULTS[transform](lambda x, kept=kept: [kept])
        assert kept.flags.writeable, (transform, n)
        assert is_locked(result), (transform, n)
        kept[...] = 7.0
        assert (result == 1).all(), (transform, n)


# --- shared memory ----------------------------------------------------------------------------


def test_large_read_only_arrays_are_shared():
    x = readonly_array(np.ones((64, LARGE // 64)))
    for view in (x, x.T, x[1:], x.reshape(-1, 32), readonly_view(x)):
        for shared in (owned_copy(view), readonly_array(view[...])):
            assert np.shares_memory(shared, x) is (view.nbytes >= LARGE)
            assert shared is not view
    assert not np.shares_memory(owned_copy(readonly_view(np.ones(LARGE))), x)
    x, y = np.ones((2, LARGE))
    for gradient in tg.grad(lambda x, y: tg.sum(x * y), argnums=(0, 1))(x, y):
        _, again = tg.Tape().parameter(gradient)
        assert np.shares_memory(again.value, gradient)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_writing_to_a_read_only_array_never_changes_a_later_result(name, n):
    a = readonly_array(np.linspace(0.5, 1, n).reshape(2, -1))
    delayed = TRANSFORMS[name](a)
    expected = leaf_bytes(delayed())
    vandalize(a)
    # a delayed result depends on the shape
    a.shape = (-1,)
    a.dtype = np.float64
    a.shape = (2, n // 2)
    assert leaf_bytes(delayed()) == expected


# --- arguments of functions ------------------------------------------------------------------


def double_in_place(x: Array) -> Array:
    """Double an array in place."""
    if isinstance(x, np.ndarray):
        np.multiply(x, 2, out=x)
    return x


NOT_DIFFERENTIATED: dict[str, Any] = {
    "grad": lambda f, x: tg.grad(lambda w, x: w * tg.sum(f(x)[0]))(1.0, (x,)),
    "by keyword": lambda f, x: tg.grad(lambda w, *, x: w * tg.sum(f(x)["x"]))(1.0, x={"x": x}),
    "an array": lambda f, x: tg.grad(lambda w, x: w * tg.sum(f(x)))(1.0, x),
    "in a record": lambda f, x: tg.grad(lambda w, x: w * tg.sum(f(x).x))(1.0, Holder(x)),
    "inside": lambda f, x: tg.grad(lambda v: tg.grad(lambda w, x: w * tg.sum(f(x)))(v, x))(1.0),
    "hessian": lambda f, x: tg.hessian(lambda w, x: w * tg.sum(f(x)))(1.0, x),
    "whole numbers": lambda f, x: tg.record(lambda w, x: w * tg.sum(f(x)))(1.0, x.astype(int)),
    "shared by a batch": lambda f, x: tg.vmap(lambda w, x: w * tg.sum(f(x)), (0, None))(x, x),
    "branch": lambda f, x: tg.cond(True, f, lambda x: x, x),
    "checkpoint": lambda f, x: tg.checkpoint(f)([x]),
    "loop": lambda f, x: tg.fori_loop(0, 2, lambda i, c: f(c), x),
    "rows": lambda f, x: tg.scan(lambda c, row: (c, f(row)), 0.0, np.stack([x, x])),
    "custom op": lambda f, x: tg.custom_op(vjps=(None,))(f)(x),
    "carry": lambda f, x: tg.scan(lambda c, _: (f(c), None), x, length=2),
    "condition": lambda f, x: tg.while_loop(lambda c: f(c)[0] < 1.0, lambda c: c + 3, x),
    "custom_vjp": lambda f, x: tg.custom_vjp(lambda g, y, x: (g,))(f)(x),
    "compile": lambda f, x: tg.record(lambda w: tg.compile(lambda w, x: w * tg.sum(f(x)))(w, x))(
        1.0
    ),
}


class Holder(NamedTuple):
    x: Any


@pytest.mark.parametrize("name", NOT_DIFFERENTIATED)
def test_function_cannot_write_to_its_arguments(name: str) -> None:
    transform, x = NOT_DIFFERENTIATED[name], np.ones(3)
    before = x.copy()
    transform(lambda x: x, x)

    def double_leaves(tree: PyTree) -> PyTree:
        return tg.tree.map(double_in_place, tree)

    with pytest.raises(ValueError, match="read-only"):
        transform(double_leaves, x)
    np.testing.assert_array_equal(x, before)
    assert x.flags.writeable


# --- copies and attributes ----------------------------------------------------------------


def test_copy_of_a_record_is_the_record():
    def fn(x):
        y = x * x
        for z in (copy.copy(y), copy.deepcopy(y), copy.deepcopy({"a": [y]})["a"][0]):
            assert z is y
        return copy.deepcopy(y) * copy.copy(x)

    assert tg.grad(fn)(2.0) == 12.0
    _, tape = tg.record(fn)(2.0)
    assert copy.copy(tape) is tape
    assert copy.deepcopy(tape) is tape
    assert copy.deepcopy(tg.add) is tg.add


def test_attributes_cannot_be_set():
    tape, x = tg.Tape().parameter([1.0, 2.0], name="x")
    objects = [tape, x, x.at[0], tg.add, tg.custom_op(vjps=(None,))(lambda x: x), tg.grad(np.sum)]
    objects += [tg.jacobian(np.sin), tg.vjp(lambda x: x, 1.0)[1], tg.nn.Linear(2, 3)]
    objects += [tg.nn.Sequential(tg.nn.Tanh()), tg.tree.flatten([1])[1]]
    for item in objects:
        names = [field.name for field in attrs.fields(type(item))]
        for name in [*names, "a_new_one"]:
            with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
                setattr(item, name, 1.0)
        for name in names:
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                delattr(item, name)
