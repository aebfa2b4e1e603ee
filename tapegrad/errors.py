"""The exceptions that no builtin class covers.

Wrong types raise ``TypeError``, shapes that do not fit ``ValueError`` and bad
indices ``IndexError``, as in NumPy; the classes here are for the tape itself.
"""


class TapegradError(Exception):
    """The base of tapegrad's own errors."""


class TapeError(TapegradError):
    """A record is used where it does not belong.

    Raised when a Tensor is used after its recording has ended, in another
    recording, or beside records of another branch of its tape.
    """


class TraceError(TapegradError):
    """A value is read where only its shape and dtype are known.

    Raised inside `compile`, and in the body of a loop or a branch, since a program serves
    all values, and inside `vmap`, since the examples of a batch differ: by ``if``, ``float``,
    ``.value``, a mask as an index. `where` and `cond` choose by value, `while_loop` repeats
    by value; an argument in `static_argnums`, or without an axis in `in_axes`, has one.
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
    """A pass of the compiler changes what a function computes: a fault of tapegrad.

    Raised by ``compile(fn, check=True)``. The message names the pass, the result, its values before
    and after, and the arguments that they were found for.
    """


class FileError(TapegradError, ValueError):
    """A file was not written by `save` or `Program.save`, or does not match what is to be loaded.

    The message names the file and everything that is wrong with it.
    """
