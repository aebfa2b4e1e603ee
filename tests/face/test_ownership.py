"""Who may change an array: every way in and out, for every kind of memory."""

import contextlib
import mmap
import pickle
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from tampering import vandalize
from tapes import check_tape

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.face.ownership import LARGE, give, keep, lend
from tapegrad.program.ir import Constant


class Kind(Enum):
    ONE = 1


# below and above the size from which arrays of the package's own are shared
SIZES = (6, LARGE // 8 + 2)


# --- arrays that somebody else can change -------------------------------------------------


def _plain(n: int) -> Any:
    a = np.linspace(0.5, 1, n)
    return a, a


def _view(n: int) -> Any:
    a = np.linspace(0.5, 1, n + 2)
    return a[1:-1], a


def _read_only_view(n: int) -> Any:
    a = np.linspace(0.5, 1, n)
    view = a[:]
    view.setflags(write=False)
    return view, a


def _read_only_owner(n: int) -> Any:
    a = np.linspace(0.5, 1, n)
    view = a[:]
    a.setflags(write=False)
    return a, view


def _memoryview(n: int) -> Any:
    a = np.linspace(0.5, 1, n)
    return np.asarray(memoryview(a).toreadonly()), a


def _bytearray(n: int) -> Any:
    memory = bytearray(np.linspace(0.5, 1, n).tobytes())
    a = np.frombuffer(memoryview(memory).toreadonly())
    return a, np.frombuffer(memory)


def _mmap(n: int) -> Any:
    memory = mmap.mmap(-1, 8 * n)
    a = np.frombuffer(memory)
    a[...] = np.linspace(0.5, 1, n)
    view = a.view()
    view.setflags(write=False)
    return view, a


def _strided(n: int) -> Any:
    a = np.linspace(0.5, 1, 2 * n)
    return a[::-2], a


def _fortran(n: int) -> Any:
    a = np.asfortranarray(np.linspace(0.5, 1, n).reshape(2, -1))
    return a, a


def _pickle_buffer(n: int) -> Any:
    a = np.linspace(0.5, 1, n)
    view = a.view()
    view.setflags(write=False)
    return np.frombuffer(pickle.PickleBuffer(view)), a


KINDS = [
    _plain,
    _view,
    _read_only_view,
    _read_only_owner,
    _memoryview,
    _bytearray,
    _mmap,
    _strided,
    _fortran,
    _pickle_buffer,
]


# --- the ways in: given an array, each returns what may be asked for later ------------------


@tg.custom_op(vjps=(lambda g, y, x, scale: g * scale["by"][0],))
def scaled(x, scale):
    return x * scale["by"][0]


def _parameter(a):
    tape, x = tg.Tape().parameter(a)
    tape, y = tape.write(tg.sin, x)
    return lambda: tg.reverse_sweep(tape, y, cotangent=np.ones(a.shape))[x]


def _operand(a):
    tape, x = tg.Tape().parameter(np.full(a.shape, 2.0))
    tape, y = tape.write(tg.multiply, x, a)
    return lambda: tg.reverse_sweep(tape, y, cotangent=np.ones(a.shape))[x]


def _argument(a):
    _, pullback = tg.vjp(lambda x: tg.sum(x * x), a)
    return lambda: pullback(1.0)[0]


def _option(a):
    _, pullback = tg.vjp(lambda x: scaled(x, scale={"by": [a]}), np.ones(a.shape))
    return lambda: pullback(np.ones(a.shape))[0]


def _default(a):
    def fn(x, w=a, *, more=([a],)):
        return x * w * more[0][0]

    op = tg.custom_op(vjps=(lambda g, y, x, w, more: g * w * more[0][0],))(fn)
    _, pullback = tg.vjp(op, np.ones(a.shape))
    return lambda: pullback(np.ones(a.shape))[0]


def _result(a):
    op = tg.custom_op(vjps=(lambda g, y, x: g * y,))(lambda x: a)
    output, pullback = tg.vjp(op, np.ones(a.shape))
    return lambda: (output, pullback(np.ones(a.shape)))


def _cotangent(a):
    op = tg.custom_op(vjps=(lambda g, y, x: a,))(lambda x: x * 1)
    gradient = tg.grad(lambda x: tg.sum(op(x)))(np.ones(a.shape))
    return lambda: gradient


def _vjp_result(a):
    fn = tg.custom_vjp(lambda g, y, x: (g * y,))(lambda x: a)
    output, pullback = tg.vjp(fn, np.ones(a.shape))
    return lambda: (output, pullback(np.ones(a.shape)))


def _vjp_cotangent(a):
    fn = tg.custom_vjp(lambda g, y, x: (a,))(lambda x: x * 1)
    gradient = tg.grad(lambda x: tg.sum(fn(x)))(np.ones(a.shape))
    return lambda: gradient


def _vjp_keyword(a):
    fn = tg.custom_vjp(lambda g, y, x, w: (g * w,))(lambda x, w: x * w)
    _, pullback = tg.vjp(lambda x: fn(x, w=a), np.ones(a.shape))
    return lambda: pullback(np.ones(a.shape))


def _checkpointed(a):
    fn = tg.checkpoint(lambda x, w: tg.sin(x * w["w"]))
    _, pullback = tg.vjp(lambda x: fn(x, {"w": a}), np.ones(a.shape))
    return lambda: pullback(np.ones(a.shape))


def _captured(a):
    step = tg.compile(lambda x: x * a)
    step(np.ones(a.shape))
    return lambda: (step(np.ones(a.shape)), step.program(np.ones(a.shape)).constants[0].value)


def _compiled_argument(a):
    result = tg.compile(lambda x: (x, x * 2))(a)
    return lambda: result


def _returned(a):
    output, _ = tg.vjp(lambda x: a, np.ones(2))
    return lambda: output


def _seed(a):
    gradient = tg.vjp(lambda x: x, np.ones(a.shape))[1](a)
    return lambda: gradient


def _tangent(a):
    tangent = tg.jvp(lambda x: (x, x), (np.ones(a.shape),), (a,))
    return lambda: tangent


def _constant(a):
    made = Constant(a)
    return lambda: made.value


WAYS_IN = [
    _parameter,
    _operand,
    _argument,
    _option,
    _default,
    _result,
    _cotangent,
    _vjp_result,
    _vjp_cotangent,
    _vjp_keyword,
    _checkpointed,
    _captured,
    _compiled_argument,
    _returned,
    _seed,
    _tangent,
    _constant,
]


def content(tree: Any) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in tg.tree.leaves(tree)]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS_IN)
def test_what_is_written_to_the_callers_array_afterwards_is_not_seen(way, kind, n):
    expected = content(way(kind(n)[0].copy("K"))())
    a, memory = kind(n)
    later = way(a)
    flags = a.flags.writeable, memory.flags.writeable
    memory[...] = 10.0
    assert content(later()) == expected
    assert (a.flags.writeable, memory.flags.writeable) == flags


@pytest.mark.parametrize("n", SIZES)
def test_an_unpickled_tape_is_apart_from_the_buffers_that_it_came_in(n):
    tape, x = tg.Tape().parameter(np.linspace(0.5, 1, n))
    tape, _ = tape.write(tg.multiply, x, np.linspace(1, 2, n))
    expected = content([r.value for r in tape])
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(tape, protocol=5, buffer_callback=buffers.append)
    memory = [bytearray(b.raw()) for b in buffers]
    again = pickle.loads(text, buffers=memory)
    for b in memory:
        b[:] = bytes(len(b))
    assert content([r.value for r in again]) == expected
    check_tape(again)


# --- options -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [tuple, list, set, dict.fromkeys, lambda x: [{"a": (list(x),)}]])
def test_options_of_any_depth_are_kept(wrap):
    names = ["a", "b"]
    option = wrap(names)
    kept = keep(option)
    names.append("c")
    if hasattr(option, "clear"):
        option.clear()
    assert kept == keep(wrap(["a", "b"]))


def test_what_cannot_change_is_kept_as_it_is():
    for x in (
        tg.compile(np.sin),
        tg.nn.Tanh(),
        tg.sin,
        np.dtype(">f4"),
        np.float32,
        np.float32(1.5),
        Kind.ONE,
        np.sum,
    ):
        assert keep(x) is x


def test_subclasses_are_copied_as_what_they_are():
    array = np.ones(3).view(type("Special", (np.ndarray,), {}))
    kept = keep(array)
    array[0] = 2
    assert (type(kept), kept[0], kept.flags.writeable) == (type(array), 1, False)
    pair = type("Pair", (tuple,), {})([[1], [2]])
    kept = keep(pair)
    pair[0].append(3)
    assert (type(kept), kept) == (type(pair), ([1], [2]))


def test_a_kept_dict_is_never_changed():
    kept = keep({"a": {"b": [1]}})
    with pytest.raises(TypeError, match="never changed"):
        kept["a"] = 1
    with pytest.raises(TypeError, match="never changed"):
        kept["a"].update(b=2)
    assert pickle.loads(pickle.dumps(kept)) == kept == {"a": {"b": (1,)}}


def test_an_object_that_can_change_is_copied_and_refused_where_that_fails():
    class Settings:
        by = 2.0

    settings = Settings()

    @tg.custom_op(vjps=(lambda g, y, x, settings: g * settings.by,))
    def op(x, settings):
        return x * settings.by

    fn = tg.custom_vjp(lambda g, y, x, settings: (g * settings.by, None))(
        lambda x, settings: x * settings.by
    )

    class Hashed(Settings):
        def __eq__(self, other):
            return self.by == other.by

        def __hash__(self):
            return hash(self.by)

    for changed in (settings, Hashed()):
        for call in (lambda x, s=changed: op(x, settings=s), lambda x, s=changed: fn(x, s)):
            changed.by = 2.0
            _, pullback = tg.vjp(call, 1.0)
            changed.by = 100.0
            assert pullback(1.0) == (2.0,)
    with pytest.raises(TypeError, match="an option is a generator"):
        tg.grad(lambda x: op(x, settings=iter(i for i in "ab")))(1.0)


def test_the_options_of_an_instruction_are_read_only():
    program = tg.compile(lambda x: tg.sum(x, axis=0)).program(np.ones((2, 3)))
    with pytest.raises(TypeError):
        program.instructions[0].options["axis"] = 1


# --- the ways out ----------------------------------------------------------------------------


def _outputs(n: int) -> dict[str, Any]:
    """What the package hands out, by name; and what must stay as it is, under "records"."""
    x = np.linspace(0.5, 1, n)
    matrix = x.reshape(2, -1)
    record_output, tape = tg.record(lambda x: (x, x.T, tg.sin(x), tg.sum(x)))(matrix)
    output, pullback = tg.vjp(lambda a, b: (a + b, a.reshape(-1)), matrix, matrix)
    model = tg.nn.Linear(n, 3)
    params = model.init(0)
    optimizer = tg.optim.SGD(0.1, momentum=0.9)
    step = tg.compile(lambda p, x: (p * x, p, x.T, np.ones(n), tg.sum(p)))
    weights = np.linspace(1, 2, n)
    program = tg.compile(lambda p: p * weights).program(x)
    return {
        "values": [r.value for r in record_output],
        "parameter": tg.Tape().parameter(x)[1].value,
        "number": tg.Tape().parameter(1.0)[1].value,
        "sweep": dict(tg.reverse_sweep(tape, record_output[2], np.ones(matrix.shape))),
        "vjp": (output, pullback((np.ones(matrix.shape), np.ones(n)))),
        "gradients": tg.grad(lambda a, b: tg.sum(a + b), argnums=(0, 1))(x, x),
        "scalars": tg.grad(lambda a, b: a + b, argnums=(0, 1))(1.0, 2.0),
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


@pytest.mark.parametrize("n", SIZES)
def test_what_is_handed_out_cannot_be_made_writeable(n):
    for name, results in _outputs(n).items():
        for x in tg.tree.leaves(results) if name != "sweep" else results.values():
            assert not x.flags.writeable, name
            with pytest.raises(ValueError, match="WRITEABLE"):
                x.setflags(write=True)
            if x.nbytes >= LARGE and isinstance(x.base, np.ndarray):
                with pytest.raises(ValueError, match="WRITEABLE"):
                    x.base.setflags(write=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("n", SIZES)
def test_nothing_that_is_done_to_a_result_reaches_a_record_or_another_result(n):
    for name, results in _outputs(n).items():
        leaves = tg.tree.leaves(results) if name != "sweep" else list(results.values())
        for i, x in enumerate(leaves):
            others = [y for j, y in enumerate(leaves) if j != i]
            before = [(y.tobytes(), y.shape, y.dtype) for y in others]
            vandalize(x)
            assert [(y.tobytes(), y.shape, y.dtype) for y in others] == before, name
            leaves[i] = np.zeros(())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("n", SIZES)
def test_nothing_that_is_done_to_a_value_reaches_the_tape(n):
    x = np.linspace(0.5, 1, n)
    _, tape = tg.record(lambda x: (x * 2, tg.sin(x), x.reshape(2, -1), tg.sum(x)))(x)
    before = content([r.value for r in tape])
    for r in tape:
        vandalize(r.value)
    check_tape(tape)
    assert content([r.value for r in tape]) == before
    assert [r.shape for r in tape] == [(n,), (n,), (n,), (2, n // 2), ()]
    result, pullback = tg.vjp(lambda x: (x, x * x), x)
    expected = content(pullback((x, x)))
    for y in (*result, *pullback((x, x))):
        vandalize(y)
    assert content(pullback((x, x))) == expected


def _of_operands(a, seen):
    _, tape = tg.record(lambda x: x * a)(a)
    seen += tape[1].operands[1:]
    return lambda: tg.reverse_sweep(tape, tape.last, np.ones(a.shape))[tape.parameters[0]]


def _of_options(a, seen):
    _, tape = tg.record(lambda x: scaled(x, scale={"by": [a]}))(a)
    seen += tape[1].options["scale"]["by"]
    return lambda: tg.reverse_sweep(tape, tape.last, np.ones(a.shape))[tape.parameters[0]]


def _of_parts(a, seen):
    def squared(x):
        return tg.scan(lambda c, _: (c * c, c), x, length=2)[0]

    output, tape = tg.record(squared)(a)
    for record in tape:
        seen += getattr(record.primal, "values", [record.primal])
    check_tape(tape)
    return lambda: tg.reverse_sweep(tape, output, np.ones(a.shape))[tape.parameters[0]]


def _of_contributions(a, seen):
    output, tape = tg.record(lambda x: x * a)(a)
    for step in tg.sweep_steps(tape, output, a):
        seen += [step.cotangent]
        for c in step.contributions:
            seen += [c.cotangent, c.summed, *c.known.values()]
    return lambda: tg.reverse_sweep(tape, output, np.ones(a.shape))[tape.parameters[0]]


def _of_a_custom_op(a, seen):
    def rule(g, y, x, scale):
        seen.extend([g, y, x, scale["by"][0]])
        return g * scale["by"][0]

    @tg.custom_op(vjps=(rule,))
    def op(x, scale):
        seen.extend([x, scale["by"][0]])
        return x * scale["by"][0]

    _, pullback = tg.vjp(lambda x: op(x, scale={"by": [a]}), a)
    step = tg.compile(tg.grad(lambda x: tg.sum(op(x, scale={"by": (a,)}))))
    return lambda: (pullback(a.copy()), step(a.copy()))


def _of_a_custom_vjp(a, seen):
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


def _of_a_checkpoint(a, seen):
    @tg.checkpoint
    def fn(x, w):
        seen.append(w)
        return x * w

    _, pullback = tg.vjp(lambda x: fn(x, np.arange(a.size)), a)
    return lambda: pullback(np.ones(a.shape))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    "way",
    [
        _of_operands,
        _of_options,
        _of_parts,
        _of_contributions,
        _of_a_custom_op,
        _of_a_custom_vjp,
        _of_a_checkpoint,
    ],
)
def test_nothing_that_is_done_to_an_array_of_a_record_reaches_it(way, n):
    seen: list[Any] = []
    later = way(np.linspace(0.5, 1, n), seen)
    expected = content(later())
    arrays = [x for x in seen if type(x) is np.ndarray]
    assert arrays
    for x in arrays:
        vandalize(x)
    assert content(later()) == expected


def _written(x):
    """The array, with something else in it if it can be written to."""
    if type(x) is np.ndarray:
        with contextlib.suppress(ValueError):
            x[...] = 77
        return x * 1
    return x


@tg.custom_op(vjps=(lambda g, y, x, w: g,))
def writing(x, w):
    return _written(x) + _written(w[0]["w"])


@pytest.mark.parametrize(
    "call",
    [
        lambda a: writing(a, w=[{"w": a}]),
        lambda a: tg.grad(lambda x: tg.sum(writing(x, w=[{"w": a}])))(a),
        lambda a: tg.compile(lambda x: writing(x, w=({"w": a},)))(a),
        lambda a: tg.custom_vjp(lambda g, y, x: (g,))(_written)(a),
        lambda a: tg.scan(lambda c, x: (_written(c), _written(x)), a, a, length=a.size),
        lambda a: tg.scan(lambda c, x: (_written(c), _written(x)), a, a[:0]),
        lambda a: tg.while_loop(lambda c: _written(c)[0] < 3, lambda c: _written(c) + 3, a),
        lambda a: tg.while_loop(lambda c: _written(c)[0] > 3, lambda c: c, a),
        lambda a: tg.fori_loop(0, 2, lambda i, c: _written(c), a),
        lambda a: tg.grad(lambda x: tg.sum(tg.checkpoint(lambda x, w: x * _written(w))(x, a)))(a),
    ],
)
def test_no_function_that_is_lent_an_array_writes_to_the_callers(call):
    a = np.linspace(0.5, 1, 6)
    call(a)
    np.testing.assert_array_equal(a, np.linspace(0.5, 1, 6))
    assert a.flags.writeable


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_keeps_what_is_done_to_its_results_and_constants_out():
    weights = np.linspace(1, 2, SIZES[1])
    step = tg.compile(lambda x: (x * weights, weights, x))
    x = np.ones(SIZES[1])
    expected = content(step(x))
    for y in (*step(x), *[c.value for c in step.program(x).constants]):
        vandalize(y)
    assert content(step(x)) == expected
    assert x.flags.writeable
    assert (x == 1).all()


# --- gradients that are new -----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OPS))
def test_no_rule_hands_out_memory_of_the_tape(name):
    for call in tg.testing.sample_calls(name, 4):
        output, tape = tg.record(partial(OPS[name], **call.kwargs))(*call.args)
        if type(output) is not tg.Tensor or output.dtype.kind != "f":
            continue
        gradients = tg.reverse_sweep(tape, output, cotangent=np.ones(output.shape))
        held = [r.primal for r in tape] + [x for r in tape for x in r.operands]
        held = [x for x in held if isinstance(x, np.ndarray)]
        for g in gradients.values():
            assert not any(np.shares_memory(g, x) for x in held)


# --- tables that are updated in few rows ------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_table_is_updated_in_place_only_where_nobody_can_tell():
    def update(table, indices):
        loss = tg.grad(lambda p: tg.sum(tg.square(tg.index_select(p, indices) - 1.0)))
        return table - 0.125 * loss(table)

    def unlocked(x):
        with pytest.raises(ValueError, match="WRITEABLE"):
            x.setflags(write=True)
        with pytest.raises(ValueError, match="WRITEABLE"):
            x.base.setflags(write=True)

    def turned(x):
        x.strides = x.strides[::-1]

    # square, so that exchanged strides are of the same shape
    n = 400
    for meddle in (unlocked, turned, lambda x: x.base, lambda x: memoryview(x.base), bytes):
        step = tg.compile(update)
        table = np.linspace(0, 1, n * n).reshape(n, n)
        held = []
        for i in range(8):
            given, indices = table, np.array([i, i + 3])
            table = step(given, indices)
            np.testing.assert_array_equal(table, update(np.array(given), indices))
            held.append((meddle(table), np.array(table)))
        assert "rows_" in str(step.program(table, indices))
        for reached, was in held:
            if reached is not None and not isinstance(reached, bytes):
                np.testing.assert_array_equal(np.asarray(reached), was)


# --- what is shared ---------------------------------------------------------------------------


@pytest.mark.parametrize("at_writes", [False, True])
def test_large_arrays_of_the_packages_own_are_shared_unless_a_ufunc_writes_to_them(
    at_writes, monkeypatch
):
    monkeypatch.setattr("tapegrad.face.ownership._AT_WRITES", at_writes)
    x = give(np.ones((64, LARGE // 64)))
    for view in (x, x.T, x[1:], x.reshape(-1, 32)):
        if view.nbytes >= LARGE:
            assert np.shares_memory(keep(view), x) is not at_writes
            assert np.shares_memory(keep(lend(view)), x) is not at_writes
            assert np.shares_memory(give(view[...]), x) is not at_writes
    assert keep(x) is not x
    assert not np.shares_memory(keep(lend(np.ones(LARGE))), x)


def test_a_large_gradient_is_shared_with_the_tape_that_it_goes_to(monkeypatch):
    monkeypatch.setattr("tapegrad.face.ownership._AT_WRITES", False)
    x, y = np.ones((2, LARGE))
    for gradient in tg.grad(lambda x, y: tg.sum(x * y), argnums=(0, 1))(x, y):
        _, again = tg.Tape().parameter(gradient)
        assert np.shares_memory(again.value, gradient)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("way", WAYS_IN)
def test_nothing_that_is_done_to_an_array_of_the_packages_own_is_seen_where_it_came_in(way, n):
    a = give(np.linspace(0.5, 1, n).reshape(2, -1))
    later = way(a)
    expected = content(later())
    vandalize(a)
    # what is asked for later goes by its shape
    a.shape = (-1,)
    a.dtype = np.float64
    a.shape = (2, n // 2)
    assert content(later()) == expected


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [2, LARGE])
def test_give_keeps_the_order_of_the_axes(order, n):
    x = np.asarray(np.arange(3.0 * n).reshape(3, n), order=order)
    given = give(x)
    assert given.strides == x.strides
    np.testing.assert_array_equal(given, x)


# --- arguments that are not differentiated ------------------------------------------------


def _doubled(x: Any) -> Any:
    """An array, changed in place."""
    if isinstance(x, np.ndarray):
        np.multiply(x, 2, out=x)
    return x


NOT_DIFFERENTIATED: dict[str, Any] = {
    "grad": lambda f, x: tg.grad(lambda w, x: w * tg.sum(f(x)[0]))(1.0, (x,)),
    "by keyword": lambda f, x: tg.grad(lambda w, *, x: w * tg.sum(f(x)["x"]))(1.0, x={"x": x}),
    "an array": lambda f, x: tg.grad(lambda w, x: w * tg.sum(f(x)))(1.0, x),
    "in a record": lambda f, x: tg.grad(lambda w, x: w * tg.sum(f(x).x))(1.0, Held(x)),
    "inside": lambda f, x: tg.grad(lambda v: tg.grad(lambda w, x: w * tg.sum(f(x)))(v, x))(1.0),
    "hessian": lambda f, x: tg.hessian(lambda w, x: w * tg.sum(f(x)))(1.0, x),
    "whole numbers": lambda f, x: tg.record(lambda w, x: w * tg.sum(f(x)))(1.0, x.astype(int)),
    "shared by a batch": lambda f, x: tg.vmap(lambda w, x: w * tg.sum(f(x)), (0, None))(x, x),
    "branch": lambda f, x: tg.cond(True, f, lambda x: x, x),
    "checkpoint": lambda f, x: tg.checkpoint(f)([x]),
    "loop": lambda f, x: tg.fori_loop(0, 2, lambda i, c: f(c), x),
    "rows": lambda f, x: tg.scan(lambda c, row: (c, f(row)), 0.0, np.stack([x, x])),
    "custom_vjp": lambda f, x: tg.custom_vjp(lambda g, y, x: (g,))(f)(x),
    "compile": lambda f, x: tg.record(lambda w: tg.compile(lambda w, x: w * tg.sum(f(x)))(w, x))(
        1.0
    ),
}


class Held(NamedTuple):
    x: Any


@pytest.mark.parametrize("name", NOT_DIFFERENTIATED)
def test_what_a_function_is_given_it_cannot_write_to(name: str) -> None:
    transform, x = NOT_DIFFERENTIATED[name], np.ones(3)
    before = x.copy()
    transform(lambda x: x, x)

    def changing(given: Any) -> Any:
        return tg.tree.map(_doubled, given)

    with pytest.raises(ValueError, match="read-only"):
        transform(changing, x)
    np.testing.assert_array_equal(x, before)
    assert x.flags.writeable
