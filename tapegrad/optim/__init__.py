"""Optimizers, learning rate schedules and clipping: pure functions on trees.

An optimizer is a frozen description: ``init(params)`` returns its state, and ``update(params,
grads, state)`` returns new parameters and a new state. The state, including the step count, is a
tree, so it is compiled, saved and resumed like parameters.

Accumulating the gradients of several batches, or averaging parameters over time, takes one
`tapegrad.tree.map`:

>>> import tapegrad as tg
>>> grads, params, mean = ({"w": np.full(2, x)} for x in (1.0, 2.0, 3.0))
>>> tg.tree.map(lambda *batches: sum(batches) / len(batches), grads, params)
{'w': array([1.5, 1.5])}
>>> tg.tree.map(lambda m, p: 0.75 * m + 0.25 * p, mean, params)
{'w': array([2.75, 2.75])}
"""

from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.errors.names import list_names as _list_names
from tapegrad.optim.adaptive import *
from tapegrad.optim.base import Optimizer as Optimizer
from tapegrad.optim.clipping import *
from tapegrad.optim.schedules import *
from tapegrad.optim.sgd import *

__all__ = _public_names(globals())
_list_names(globals())
