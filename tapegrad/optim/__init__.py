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

import typing as _typing

from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.errors.names import lacking as _lacking
from tapegrad.optim.adaptive import Adagrad as Adagrad
from tapegrad.optim.adaptive import AdagradState as AdagradState
from tapegrad.optim.adaptive import Adam as Adam
from tapegrad.optim.adaptive import AdamState as AdamState
from tapegrad.optim.adaptive import AdamW as AdamW
from tapegrad.optim.adaptive import RMSProp as RMSProp
from tapegrad.optim.adaptive import RMSPropState as RMSPropState
from tapegrad.optim.base import Optimizer as Optimizer
from tapegrad.optim.clipping import clip_by_global_norm as clip_by_global_norm
from tapegrad.optim.clipping import global_norm as global_norm
from tapegrad.optim.schedules import constant as constant
from tapegrad.optim.schedules import exponential_decay as exponential_decay
from tapegrad.optim.schedules import linear as linear
from tapegrad.optim.schedules import piecewise as piecewise
from tapegrad.optim.schedules import warmup_cosine as warmup_cosine
from tapegrad.optim.sgd import SGD as SGD
from tapegrad.optim.sgd import SGDState as SGDState

__all__ = _public_names(globals())
__dir__ = __all__.copy
# a checker would take any name then
if not _typing.TYPE_CHECKING:
    __getattr__ = _lacking("optim")
