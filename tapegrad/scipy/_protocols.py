"""The members of SciPy's objects that this package reads. Only a type checker uses them."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from tapegrad.types import Array, DType, Shape

__all__ = ["Bounds", "IvpResult", "OdeSolution", "OdeSolver", "SciPySpline", "SparseArray"]
__all__ += ["SciPyResult", "SuperLU"]
__dir__ = __all__.copy


class OdeSolution(Protocol):
    """`scipy.integrate.OdeSolution`, the interpolated solution, with the ends of steps."""

    ts: Array

    def __call__(self, t: float | Array) -> Array: ...


class IvpResult(Protocol):
    """The result of `scipy.integrate.solve_ivp`."""

    t: Array
    y: Array
    # with dense_output alone
    sol: OdeSolution
    nfev: int
    njev: int
    nlu: int
    status: int
    message: str
    success: bool


class OdeSolver(Protocol):
    """`scipy.integrate.OdeSolver` with a tableau, as its explicit methods have one."""

    n_stages: ClassVar[int]
    A: ClassVar[Array]
    B: ClassVar[Array]
    C: ClassVar[Array]
    P: ClassVar[Array]
    # of DOP853
    A_EXTRA: ClassVar[Array]
    C_EXTRA: ClassVar[Array]
    D: ClassVar[Array]

    t: float
    y: Array
    K: Array
    K_extended: Array
    status: str

    def step(self) -> str | None: ...

    def dense_output(self) -> object: ...


class Bounds(Protocol):
    """`scipy.optimize.Bounds`."""

    lb: Array
    ub: Array
    keep_feasible: bool | Array


class SciPyResult(Protocol):
    """`scipy.optimize.OptimizeResult`, a dict with attributes."""

    x: Array

    def get(self, name: str, default: Any) -> Any: ...


class SciPySpline(Protocol):
    """`scipy.interpolate.PPoly` with breakpoints `x`, or `BSpline` with knots `t`."""

    c: Array
    x: Array
    t: Array
    k: int
    extrapolate: bool | str

    def __call__(self, x: Any, nu: int = 0, extrapolate: bool | str | None = None) -> Array: ...


class SparseArray(Protocol):
    """A sparse array of SciPy."""

    shape: tuple[int, int]
    dtype: DType

    def __matmul__(self, x: Array) -> Array: ...

    def tocsc(self) -> SparseArray: ...

    def tocsr(self) -> SparseArray: ...

    def tocoo(self) -> SparseArray: ...


class SuperLU(Protocol):
    """`scipy.sparse.linalg.SuperLU`, the factors of a sparse array."""

    shape: Shape

    def solve(self, rhs: Array, trans: str = "N") -> Array: ...
