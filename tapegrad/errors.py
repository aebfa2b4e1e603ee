"""What tapegrad raises where no builtin exception says it.

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
    """A value is read where only the shape and dtype of it are known."""


class NonFiniteError(TapegradError, FloatingPointError):
    """A value or a cotangent is not finite, where ``check_finite=True`` was asked for."""
