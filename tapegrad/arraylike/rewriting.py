"""Rewrite a line of the caller's source to the form that works on Tensors, for messages.

Start with `reading_remedy`, for an operation that reads a Tensor's value in a recording, and
`unknown_value_remedy`, for one that needs the value while compiling.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from inspect import getattr_static
from itertools import takewhile
from operator import attrgetter
from types import FrameType, ModuleType
from typing import Any

import numpy as np

from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import is_recording
from tapegrad.errors import TapeError, TraceError
from tapegrad.errors.lines import (
    frames_to_users,
    is_users,
    users_frame,
    users_line,
    users_place,
)
from tapegrad.errors.remedies import (
    LIBRARIES,
    NUMPY_FUNCTIONS,
    RANDOM_DRAWS,
    SOLVERS,
    UFUNC_METHODS,
)
from tapegrad.errors.source import users_code

_ARRAY_FUNCTIONS = ("array", "asarray", "asanyarray", "fromiter")
_CONVERSIONS = ("float", "float64", "double", "longdouble", "float32", "single", "float16", "half")
# NumPy's names of functions of math, if they differ; empty if NumPy lacks the function
_MATH_NAMES = {"fsum": "sum", "gamma": "", "lgamma": "", "dist": "", "hypot": "", "comb": ""}
# functions that tapegrad has by the same name as SciPy
_SAME_AS_SCIPY = ("polygamma", "softplus")
# modules of SciPy that share functions with NumPy, and the prefix of these functions in NumPy
_SCIPY_MODULES_IN_NUMPY = {"scipy.linalg": "linalg."}
_TRANSFORMED = "the quantile function of the distribution at tg.random.uniform(key, shape)"
_USE_INSTEAD = (
    "pass the Tensor to functions of np.* and tg.*, stack several with tg.array, or put one into "
    "a copy of an array with tg.at(array)[i].set(t)"
)
_IMPLICIT = (
    "tg.implicit_root(f, solve)(k), with f(x, k) zero at the solution that solve(k) finds on arrays"
)
_QUADRATURE = "scipy.integrate.fixed_quad, whose sum is recorded"
# functions of these modules that call no function of the caller, or only sum its results
_NO_SOLVERS = (
    "fixed_quad trapezoid simpson romb cumulative_trapezoid cumulative_simpson rosen rosen_der "
    "rosen_hess rosen_hess_prod nnls lsq_linear linprog milp linear_sum_assignment "
    "quadratic_assignment isotonic_regression"
)
_MOST = 100  # characters of code
# ways of reading a Tensor; for some, the caller's call says more
_INDEXING = "indexing with a mask"
_NUMBERS = ("the format", ".item()", ".tolist()", "float()", "int()", "complex()")
_BY_VALUE = ("turning a Tensor into an array", "float() and math functions", "complex()")


def _library_calls() -> Iterator[tuple[str, str]]:
    """Yield the modules and functions between the caller's code and here, the last one first."""
    for frame in frames_to_users():
        module = frame.f_globals.get("__name__", "")
        if not module.startswith("tapegrad.arraylike.") and not is_users(frame):
            yield module, frame.f_code.co_name


def refuse_solver(t: Tensor) -> None:
    """Raise if one of SciPy's solvers reads the Tensor, for example as a function's result.

    SciPy does not catch this error.
    """
    # a function of tapegrad in between records its arguments
    called = takewhile(lambda x: not x[0].startswith("tapegrad."), _library_calls())
    through = [x for x in called if x[0].startswith(("scipy.optimize", "scipy.integrate"))]
    module, solver = through[-1] if through else ("", "")
    # bounds and constraints only store their arguments
    if module in ("", "scipy.optimize._constraints") or solver in _NO_SOLVERS.split():
        return
    name, code, _ = _find_reading(solver)
    solver = "ode" if module.startswith("scipy.integrate._ivp.") else solver
    ours = code or SOLVERS.get(solver, "")
    if module.startswith("scipy.optimize") or solver == "solve_bvp":
        ours = f"{ours}, or {_IMPLICIT}" if ours else _IMPLICIT
    raise (TraceError if t.origin.compiling else TapeError)(
        f"{name} computes on arrays, and takes no Tensor from the function that it calls, or as an "
        f"argument ({t._line()}): the gradient would be cut off{_users_position()}; "
        f"write {ours or _QUADRATURE}"
    )


def ufunc_method_remedy(name: str, method: str) -> str:
    """Return the remedy for a ufunc's method, with a placeholder for the ufunc's full name."""
    remedy = UFUNC_METHODS.get(f"{name}.{method}") or UFUNC_METHODS.get(method)
    return remedy or "call it with t[:, None]"


def function_remedy(name: str) -> str | None:
    """Return the remedy for a NumPy function without an op, or for the function that calls it."""
    called, code, _ = _find_reading("")
    if code and called.rpartition(".")[2] != name:
        return f"write {code}"
    return NUMPY_FUNCTIONS.get(name)


# --- reading a Tensor's value ---------------------------------------------------------------


def reading_remedy(what: str, t: Tensor) -> tuple[str, str]:
    """Return the name of an operation that reads a Tensor's value, and the remedy.

    Parameters
    ----------
    what
        The name to use if the source is not available.
    t
        The Tensor.
    """
    refuse_solver(t)
    name, code, through = _find_reading(what)
    if not is_recording(t.origin):
        return name, f"{users_line()}; its recording has ended"
    if code:
        return name, f"{_users_position()}; write {code}"
    return name, f"{users_line()}; {_library_remedy(through) or _USE_INSTEAD}"


def _library_remedy(through: Sequence[tuple[str, str]]) -> str:
    """Return the remedy for calling a library that reads a Tensor's value; "" for NumPy."""
    called = [f"{module}." for module, _ in through]
    for name, remedy in LIBRARIES.items():
        if any(module.startswith(f"{name}.") for module in called):
            return remedy
    return ""


def _users_position() -> str:
    """Return the caller's file and line number, for a message."""
    place = users_place()
    return f", at {place.file}:{place.number}"


def _find_reading(what: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Return the operation that reads a Tensor, the code to write, if any, and library calls."""
    through, nodes = list(_library_calls()), users_code()
    if not nodes or any(module.startswith("tapegrad.") for module, _ in through):
        return what, "", through
    node = nodes[0]
    name, code = what, ""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
        name = f"{_short_code(node, 'array[index]')} = t"
        code = _update_code(node, nodes[1])
    elif isinstance(node, ast.Subscript):
        code = _index_code(node)
    elif isinstance(node, ast.Call):
        name = _callee_name(node.func)
        code = _call_code(node, name, through)
        name = what if name.endswith((".item", ".tolist")) else name
    return name, code, through


def _update_code(target: ast.Subscript, statement: ast.AST) -> str:
    """Return code that makes a new array in place of an assignment to elements."""
    array = ast.unparse(target.value)
    update = f"{array} = tg.at({array}){ast.unparse(target).removeprefix(array)}"
    is_named = isinstance(target.value, ast.Name | ast.Attribute)
    if is_named and isinstance(statement, ast.Assign) and statement.targets == [target]:
        code = f"{update}.set({ast.unparse(statement.value)})"
    elif is_named and isinstance(statement, ast.AugAssign):
        adds = isinstance(statement.op, ast.Add)
        value = ast.unparse(statement.value) if adds else _augmented_value(statement)
        code = f"{update}.{'add' if adds else 'set'}({value})"
    else:
        return "array = tg.at(array)[index].set(t)"
    return code if len(code) <= _MOST else f"{update}.set(...)"


def _index_code(node: ast.Subscript) -> str:
    """Return code for indexing np.r_, np.c_ or an array with a Tensor."""
    array = ast.unparse(node.value)
    name = array.rpartition(".")[2]
    if name in ("r_", "c_"):
        code = f"tg.{name}{ast.unparse(node).removeprefix(array)}"
        return code if len(code) <= _MOST else f"tg.{name}[...]"
    return f"tg.getitem({array}, {ast.unparse(node.slice)})"


def _call_code(call: ast.Call, name: str, through: Sequence[tuple[str, str]]) -> str:
    """Return code for a call that reads a Tensor's value."""
    module, _, function = name.rpartition(".")
    if function in ("item", "tolist") and isinstance(call.func, ast.Attribute):
        return ast.unparse(call.func.value)
    if function == "vectorize" and isinstance(call.func, ast.Call):
        return _replace_callee(f"tg.vmap({', '.join(map(ast.unparse, call.func.args[:1]))})", call)
    if function == "vectorize" or not call.args:
        return ""
    first = call.args[0]
    if function in _CONVERSIONS and len(call.args) == 1:
        wide = function in _CONVERSIONS[:4]
        return ast.unparse(first) + ("" if wide else f".astype(np.{function})")
    if module == "math":
        ours = _MATH_NAMES.get(function, function if hasattr(np, function) else "")
        if function == "log" and len(call.args) == 2:
            return " / ".join(f"np.log({ast.unparse(x)})" for x in call.args)
        return _replace_callee(f"np.{ours}", call) if ours else ""
    if _is_random(module):
        return RANDOM_DRAWS.get(function, _TRANSFORMED)
    if of_scipy := [x for x in through if x[0].startswith("scipy.")]:
        place, path, built = _callee(call.func)
        # SciPy may read arguments before it calls the function, or call another one
        of_scipy.insert(0, (place, path))
        ours = next(filter(None, (_scipy_counterpart(*x) for x in of_scipy)), "")
        return _replace_callee(ours, call, built) if ours else ""
    if function in _ARRAY_FUNCTIONS:
        parts = first.elts if isinstance(first, ast.List | ast.Tuple) else []
        if parts and len(call.args) == 1 and not call.keywords:
            nested = any(isinstance(x, ast.List | ast.Tuple | ast.Starred) for x in parts)
            return _replace_callee("tg.array" if nested else "np.stack", call)
        if isinstance(first, ast.GeneratorExp):
            return f"tg.array([{ast.unparse(first)[1:-1]}])"
        function = "array" if function == "asanyarray" else function
    of_linalg = module.endswith("linalg")
    home, path = (np.linalg, f"linalg.{function}") if of_linalg else (np, function)
    # a submodule's function may differ from NumPy's function of the same name
    place, called = through[-1] if through else ("", "")
    if place.startswith("numpy.polynomial."):
        path = f"polynomial.{called}"
    elif place.startswith("numpy.") and (
        getattr(sys.modules[place], called, None) is not getattr(home, function, place)
    ):
        return ""
    return _replace_callee(f"tg.{path}", call) if _is_tapegrads(path) else ""


def _is_random(module: str) -> bool:
    """Return whether the text before a function's name is `numpy.random` or a generator."""
    return module.endswith(("random", "rng", "generator")) or "default_rng(" in module


def _callee(node: ast.expr) -> tuple[str, str, ast.Call | None]:
    """Return the module and the path of a function in the caller's source, as "norm.logpdf".

    The third result is the call that makes the function's owner, as a frozen distribution or a
    spline, and None for a function of a module.
    """
    if isinstance(node, ast.Call):  # CubicSpline(x, y)(t)
        return *_callee(node.func)[:2], node
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):  # norm(0).pdf(t)
        module, owner, built = _callee(node.value)
        return module, f"{owner}.{node.attr}", built
    return _describe(_look_up(node, users_frame(sys._getframe())))


def _look_up(node: ast.expr, frame: FrameType | None) -> Any:
    """Return the object of a name or an attribute in a frame, without running the caller's code.

    None for other expressions, and for properties.
    """
    if frame is None:
        return None
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id))
    if not isinstance(node, ast.Attribute):
        return None
    owner = _look_up(node.value, frame)
    look_up = getattr if isinstance(owner, ModuleType) or _is_scipys(owner) else getattr_static
    return look_up(owner, node.attr, None)


def _describe(function: Any) -> tuple[str, str, ast.Call | None]:
    """Return the module, the path and the owner's call of a function of SciPy; see `_callee`."""
    owner = getattr(function, "__self__", None)
    if _is_scipys(owner):
        module, path, built = _describe(owner)
        return module, f"{path}.{function.__name__}", built
    if not _is_scipys(function) or hasattr(function, "__name__"):
        name = str(getattr(function, "__name__", ""))
        return getattr(function, "__module__", None) or "", name, None
    if hasattr(function, "dist"):  # a frozen distribution
        module, path, _ = _describe(function.dist)
        keywords = [ast.keyword(k, _number_node(x)) for k, x in function.kwds.items()]
        return module, path, ast.Call(ast.Name(path), [*map(_number_node, function.args)], keywords)
    kind = type(function)
    if hasattr(function, "logcdf"):  # a distribution, one object of its class
        return kind.__module__, str(function.name), None
    return (
        kind.__module__,
        kind.__name__,
        ast.Call(ast.Name(kind.__name__), [_number_node(None)], []),
    )


def _is_scipys(x: object) -> bool:
    """Return whether an object is an instance of one of SciPy's classes."""
    return type(x).__module__.startswith("scipy.")


def _number_node(x: object) -> ast.expr:
    """Return the code of a Python number; an ellipsis for other values."""
    return ast.Constant(x if isinstance(x, int | float) and not hasattr(x, "dtype") else ...)


def _scipy_counterpart(place: str, path: str) -> str:
    """Return the full name of tapegrad's function for a function of SciPy; "" if none."""
    parts = place.split(".")
    if path in _SAME_AS_SCIPY:
        return f"tg.{path}"
    for end in range(2, len(parts) + 1):
        module = ".".join(["tapegrad", *parts[:end]])
        with suppress(ImportError, AttributeError):
            namespace = import_module(module)
            attrgetter(path)(namespace)
            if path.split(".")[0] in namespace.__all__:
                return f"{module}.{path}"
    path = _SCIPY_MODULES_IN_NUMPY.get(".".join(parts[:2]), "_") + path
    return f"np.{path}" if _is_tapegrads(path) else ""


def _replace_callee(function: str, call: ast.Call, built: ast.Call | None = None) -> str:
    """Return a call's code with another function, which may be a method of a call's result."""
    target: ast.expr = ast.Name(function)
    if built is not None:
        owner, _, method = function.rpartition(".")
        is_method = owner.startswith("tapegrad.scipy.") and owner.count(".") > 2
        made = ast.Call(ast.Name(owner if is_method else function), built.args, built.keywords)
        target = ast.Attribute(made, method) if is_method else made
    return _short_code(ast.Call(target, call.args, call.keywords), f"{function}(...)")


def _short_code(node: ast.AST, otherwise: str) -> str:
    code = ast.unparse(node)
    return code if len(code) <= _MOST else otherwise


def _callee_name(function: ast.expr) -> str:
    """Return the name in the caller's source of a function, or of the call that returns it."""
    while isinstance(function, ast.Call):
        function = function.func
    return _short_code(function, getattr(function, "attr", "the call"))


def _is_tapegrads(path: str) -> bool:
    """Return whether a path in tapegrad leads to a function of arrays."""
    target: Any = import_module("tapegrad")
    for name in path.split("."):
        target = getattr(target, name, None)
    module = getattr(target, "__module__", None) or ""
    return module.startswith(("tapegrad.ops", "tapegrad.functions"))


# --- reading an unknown value ---------------------------------------------------------------

_CONVERT_OUTSIDE = {
    "compiling": "return it and convert it outside, or compile the part that does not read it",
    "batching": "return it and convert it outside",
    "recording": "return it from the loop or branch and convert it outside",
}
_COMPUTE_BEFORE = {
    "compiling": "compute it outside of the compiled function and pass the result, or compile the "
    "part that does not need it",
    "batching": "compute it outside of the batched function and pass the result",
    "recording": "compute it outside of the loop or branch",
}
_STATIC = {
    "compiling": "for a program of each value",
    "batching": "if it is the same for all examples",
}
_CHOOSE = "select with tg.where, or branch with tg.cond"
# remedies by the syntax that needs the truth of a Tensor
_STATEMENTS: Mapping[type[ast.AST], str] = {
    ast.While: "loop with tg.while_loop, or tg.fori_loop if the number of steps is known",
    **dict.fromkeys((ast.If, ast.IfExp, ast.comprehension), _CHOOSE),
}
_BOOLEAN_OPERATORS: Mapping[type[ast.AST], str] = {
    ast.And: "join truth values with np.logical_and or &, instead of `and`",
    ast.Or: "join truth values with np.logical_or or |, instead of `or`",
    ast.Not: "negate a truth value with np.logical_not, instead of `not`",
}
_CHAINED_COMPARISON = "compare two at a time, and join with np.logical_and or &"
# Python's functions that need the truth of a comparison, and tapegrad's, which take a list
_TRUTH_FUNCTIONS = {name: f"tg.{name}" for name in ("max", "min", "any", "all")} | {
    "sorted": "tg.sort"
}
# operations that need a Tensor's values for the shape of their result
_SHAPING = (
    *("finding different elements", "finding elements that are not zero", "counting what occurs"),
    *("trimming zeros", "use as an index", "use as a size"),
)


def unknown_value_remedy(what: str, t: Tensor) -> tuple[str, str]:
    """Return the name of an operation that needs a Tensor's unknown value, and the remedy."""
    refuse_solver(t)
    name, code, library = what, "", ""
    if what in _BY_VALUE:
        name, code, through = _find_reading(what)
        library = _library_remedy(through)
    if code:
        is_number = name.rpartition(".")[2] in _CONVERSIONS
        outside = f", or {_CONVERT_OUTSIDE[t.origin.activity]}" if is_number else ""
        return name, f"{_users_position()}; write {code}{outside}"
    if library:
        return name, f"{users_line()}; {library}"
    return what, f"{users_line()}; {_asking_remedy(what, t)}"


def _asking_remedy(what: str, t: Tensor) -> str:
    """Return the remedy for an operation, by the arguments that the Tensor depends on."""
    doing, source = t.origin.activity, ""
    arguments = _argument_names(t, "iub") if doing in _STATIC else []
    static = f"{_static_advice(doing, arguments)}, {_STATIC[doing]}" if arguments else ""
    if what == _INDEXING:
        return "np.where(mask, t, 0) keeps the shape, and so does t * mask"
    if what == "bool()":
        source = _truth_remedy(users_code())
    elif what in ("int()", "use as an index"):
        source = _index_remedy(users_code())
    if source or static:
        return "; or ".join(filter(None, (static, source)))
    if what in _SHAPING:
        return f"a shape depends on it: {_COMPUTE_BEFORE[doing]}"
    if what.startswith(_NUMBERS):
        return _CONVERT_OUTSIDE[doing]
    everything = f"{_CHOOSE}, loop with tg.while_loop or tg.scan, {_CONVERT_OUTSIDE[doing]}"
    if doing == "compiling" and (numbers := _argument_names(t, "iubfc")):
        return f"{_static_advice(doing, numbers)}, {everything}"
    return everything


def _static_advice(doing: str, arguments: Sequence[str]) -> str:
    """Return how to make arguments static, or the same for all examples."""
    names = " and ".join(arguments)
    if doing == "batching":
        return f"write None in in_axes for {names}"
    # a tree is static as a whole
    if any("." in name for name in arguments):
        return f"pass {names} beside the tree, listed in static_argnums"
    return f"list {names} in static_argnums"


def _truth_remedy(nodes: Sequence[ast.AST]) -> str:
    """Return the remedy for source that needs the truth of a Tensor; "" if there is none."""
    if nodes and isinstance(nodes[0], ast.Call) and (code := _truth_code(nodes[0])):
        return f"write {code}"
    joined = ""
    for i, node in enumerate(nodes):
        # Python 3.11 knows no more than the statement
        asked = node.test if isinstance(node, ast.If | ast.IfExp | ast.While) and not i else node
        if isinstance(asked, ast.BoolOp | ast.UnaryOp) and i < 2:
            joined = joined or _BOOLEAN_OPERATORS.get(type(asked.op), "")
        elif isinstance(asked, ast.Compare) and len(asked.ops) > 1 and not i:
            joined = _CHAINED_COMPARISON
        if type(node) in _STATEMENTS:
            return "; ".join(filter(None, (_STATEMENTS[type(node)], joined)))
        if isinstance(node, ast.stmt):
            break
    return joined


def _truth_code(call: ast.Call) -> str:
    """Return code for a call of ``max``, ``min``, ``any``, ``all`` or ``sorted``; "" for others."""
    name = _callee_name(call.func)
    starred = any(isinstance(x, ast.Starred) for x in call.args)
    if name not in _TRUTH_FUNCTIONS or not call.args or call.keywords or starred:
        return ""
    if name in ("max", "min") and len(call.args) == 2:
        return _replace_callee(f"np.{name}imum", call)
    several: ast.expr = ast.List(call.args) if len(call.args) > 1 else call.args[0]
    if isinstance(several, ast.GeneratorExp):
        several = ast.ListComp(several.elt, several.generators)
    return _replace_callee(_TRUTH_FUNCTIONS[name], ast.Call(call.func, [several], []))


def _index_remedy(nodes: Sequence[ast.AST]) -> str:
    """Return the remedy for a Tensor as an index or a number of steps; "" for other integers."""
    match nodes:
        case [ast.Call(func=ast.Name("range")), *_] | [_, ast.Call(func=ast.Name("range")), *_]:
            return "loop with tg.fori_loop, tg.while_loop or tg.scan"
        case [ast.Call(args=[number]) as call, ast.Subscript(ctx=ast.Load()) as node, *_] if (
            node.slice is call
        ):
            array, index = ast.unparse(node.value), f"{ast.unparse(number)}.astype(int)"
            if len(array) + len(index) > _MOST:
                return "write t[i.astype(int)]"
            getitem = f"tg.getitem({array}, {index})"
            return f"write {array}[{index}], or {getitem} if {array} is no Tensor"
        case [ast.Subscript(ctx=ast.Load()) as node, *_] if not _is_sliced(node):
            return "write tg.getitem(tg.array(rows), i), or choose a function with tg.switch"
    return ""


def _is_sliced(node: ast.Subscript) -> bool:
    return any(isinstance(part, ast.Slice) for part in ast.walk(node.slice))


def _argument_names(t: Tensor, kinds: str) -> list[str]:
    """Return the names of the arguments that a Tensor is computed from, if all may be static.

    `kinds` are the kinds of dtypes that may be. While compiling, only numbers may be static.
    """
    names, left, seen = [], [t], set()
    while left:
        x = left.pop()
        if id(x) in seen or type(x) is not type(t):
            continue
        seen.add(id(x))
        if x.op.name == "parameter" and x.name:
            if x.dtype.kind not in kinds or (x.shape and x.origin.activity == "compiling"):
                return []
            names.append(x.name)
        left += x._operands
    return sorted(names)


# --- writing in place -----------------------------------------------------------------------


def assignment_code() -> str:
    """Return the statement to write where elements of a Tensor are set."""
    node = next(iter(users_code()), None)
    shuffles = isinstance(node, ast.Call) and _callee_name(node.func).endswith("shuffle")
    return f"t = {RANDOM_DRAWS['shuffle'] if shuffles else 't.at[index].set(value)'}"


def rebinding_code(default: str) -> str:
    """Return the caller's statement with an in-place operator, rewritten without it."""
    node = next(iter(users_code()), None)
    if not isinstance(node, ast.AugAssign):
        return default
    if isinstance(node.target, ast.Subscript) and default.startswith("array"):
        return _update_code(node.target, node)
    value = _augmented_value(node)
    code = f"{ast.unparse(node.target)} = {value}"
    if isinstance(node.target, ast.Attribute) and isinstance(node.target.value, ast.Name):
        name, field = node.target.value.id, node.target.attr
        code += f', or of parameters {name} = tg.tree.update({name}, {{"{field}": {value}}})'
    return code


def _augmented_value(node: ast.AugAssign) -> str:
    """Return the code of the value that an in-place operator assigns."""
    return ast.unparse(ast.BinOp(node.target, node.op, node.value))
