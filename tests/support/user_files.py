"""Functions as users have them, in files whose lines are read for messages."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBER = itertools.count()


def in_a_file(folder: Path, body: str) -> Callable[..., Any]:
    """Write a function of x with these lines as its body to a new file, and import it."""
    path = folder / f"users_{next(NUMBER)}.py"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    path.write_text(
        "import math, operator, random\nimport numpy as np\nimport tapegrad as tg\n"
        "from numpy import array, exp\ndef f(x):\n" + lines + "\n"
    )
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names["f"]
