"""Exceptions of the package, where no builtin class fits.

Wrong types raise ``TypeError``, shapes that do not fit ``ValueError`` and bad
indices ``IndexError``, as in NumPy; the classes here are for the tape itself.
"""


class TapegradError(Exception):
    """The base of tapegrad's own errors.

    Examples
    --------
    >>> import tapegrad as tg
    >>> try:
    ...     tg.compile(lambda x: x if x > 0 else -x)(1.0)
    ... except tg.TapegradError as error:
    ...     print(type(error).__name__)
    TraceError
    """


class TapeError(TapegradError):
    """A record is used outside of its recording.

    Raised when a Tensor is used after its recording has ended, in another
    recording, or beside records of another branch of its tape.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, tape = tg.record(lambda x: x * x)(3.0)
    >>> try:
    ...     output + 1.0
    ... except tg.TapeError as error:
    ...     print("TapeError")
    TapeError
    """


class TraceError(TapegradError):
    """A value is read where only its shape and dtype are known.

    Raised inside `compile`, and in the body of a loop or a branch, since a program serves
    all values, and inside `vmap`, since the examples of a batch differ: by ``if``, ``float``,
    ``.value``, a mask as an index. `where` and `cond` choose by value, `while_loop` repeats
    by value; an argument in `static_argnums`, or without an axis in `in_axes`, has a value.

    Examples
    --------
    >>> import tapegrad as tg
    >>> try:
    ...     tg.compile(lambda x: x if x > 0 else -x)(1.0)
    ... except tg.TraceError:
    ...     print(tg.compile(lambda x: tg.where(x > 0, x, -x))(-1.0))
    1.0
    """


class NonFiniteError(TapegradError, FloatingPointError):
    """A value or a cotangent is not finite, and ``check_finite=True`` was passed.

    The message names the first line of the tape that made such a number, the line of your source
    that it was written for, its operands and, if known, the likely cause.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> try:
    ...     with np.errstate(all="ignore"):
    ...         tg.grad(tg.log, check_finite=True)(np.array(0.0))
    ... except tg.NonFiniteError as error:
    ...     first, place, *rest = str(error).splitlines()
    >>> for line in (first, *rest):
    ...     print(line)
    the value of line 1 of the tape of log, log, is not finite: -inf
      operand 0: %0 x, 0.0
      hint: the argument of a log is not positive
    """


class ProofError(TapegradError, AssertionError):
    """A pass of the compiler changes what a function computes, or raises.

    A fault of tapegrad, unless you wrote the pass; the message says which. Raised by
    ``compile(fn, check=True)``. The message names the pass, the result, its values before and
    after, and the arguments that gave these values; in a loop or a branch, the body's arguments.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.compile(lambda x: tg.exp(tg.log(x)), check=True)(2.0)  # each pass is right
    array(2.)
    """


class FileError(TapegradError, ValueError):
    """A file was not written by `save` or `Program.save`, or does not match the expected tree.

    The message names the file and everything that is wrong with it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(Path(folder) / "params.npz", {"w": np.ones(2)})
    ...     try:
    ...         tg.load(Path(folder) / "params.npz", like={"w": np.ones(3)})
    ...     except tg.FileError as error:
    ...         print(str(error).partition("params.npz: ")[2])
    'w' is float64 (2,); float64 (3,) is expected
    """


__all__ = ["FileError", "NonFiniteError", "ProofError", "TapeError", "TapegradError", "TraceError"]
__dir__ = __all__.copy
