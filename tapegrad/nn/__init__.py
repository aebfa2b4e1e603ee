"""Layers, losses and initializers.

A layer is a frozen description: ``layer.init(key)`` draws its parameters, a tree of
read-only arrays, and ``layer(params, x)`` is a pure function of them.

- `Linear`, `Embedding`: affine maps, and rows of a table.
- `Conv1d`, `Conv2d`, `MaxPool2d`, `AvgPool2d`, `Flatten`: sequences and images.
- `RNNCell`, `GRUCell`, `LSTMCell`: one step of a recurrent net.
- `MultiHeadAttention`, and the function `attention`.
- `LayerNorm`, `RMSNorm`, `BatchNorm`: normalization; the last has a state.
- `Dropout`: zeros at random, given a key.
- `Tanh`, `Sigmoid`, `Relu`, `Gelu`, `Silu`, `LeakyRelu`, `Elu`, `Softmax`, `LogSoftmax`:
  activations.
- `Sequential`: layers and functions one after another.

Losses are `mse_loss`, `l1_loss`, `huber_loss`, `cross_entropy_loss`,
`binary_cross_entropy_loss` and `kl_loss`; `accuracy` counts. `one_hot` turns labels into rows.

Initializers are in `tapegrad.nn.initializers`, for layers of your own and to start from parameters
other than those a layer draws:

>>> import numpy as np
>>> import tapegrad as tg
>>> params = tg.nn.Linear(3, 2).init(0)
>>> weight = tg.nn.initializers.orthogonal(1, (3, 2))
>>> params = tg.tree.update(params, {"weight": weight})
>>> np.allclose(params.weight.T @ params.weight, np.eye(2))
True
"""

import typing as _typing

from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.errors.names import lacking as _lacking
from tapegrad.nn import initializers as initializers
from tapegrad.nn.attention import MultiHeadAttention as MultiHeadAttention
from tapegrad.nn.attention import attention as attention
from tapegrad.nn.convolution import AvgPool2d as AvgPool2d
from tapegrad.nn.convolution import Conv1d as Conv1d
from tapegrad.nn.convolution import Conv2d as Conv2d
from tapegrad.nn.convolution import Flatten as Flatten
from tapegrad.nn.convolution import MaxPool2d as MaxPool2d
from tapegrad.nn.layers import Dropout as Dropout
from tapegrad.nn.layers import Elu as Elu
from tapegrad.nn.layers import Embedding as Embedding
from tapegrad.nn.layers import Gelu as Gelu
from tapegrad.nn.layers import LeakyRelu as LeakyRelu
from tapegrad.nn.layers import Linear as Linear
from tapegrad.nn.layers import LogSoftmax as LogSoftmax
from tapegrad.nn.layers import Relu as Relu
from tapegrad.nn.layers import Sigmoid as Sigmoid
from tapegrad.nn.layers import Silu as Silu
from tapegrad.nn.layers import Softmax as Softmax
from tapegrad.nn.layers import Tanh as Tanh
from tapegrad.nn.losses import accuracy as accuracy
from tapegrad.nn.losses import binary_cross_entropy_loss as binary_cross_entropy_loss
from tapegrad.nn.losses import cross_entropy_loss as cross_entropy_loss
from tapegrad.nn.losses import huber_loss as huber_loss
from tapegrad.nn.losses import kl_loss as kl_loss
from tapegrad.nn.losses import l1_loss as l1_loss
from tapegrad.nn.losses import mse_loss as mse_loss
from tapegrad.nn.losses import one_hot as one_hot
from tapegrad.nn.normalization import BatchNorm as BatchNorm
from tapegrad.nn.normalization import LayerNorm as LayerNorm
from tapegrad.nn.normalization import RMSNorm as RMSNorm
from tapegrad.nn.recurrent import GRUCell as GRUCell
from tapegrad.nn.recurrent import LSTMCell as LSTMCell
from tapegrad.nn.recurrent import RNNCell as RNNCell
from tapegrad.nn.sequential import Sequential as Sequential

__all__ = [*_public_names(globals()), "initializers"]
__dir__ = __all__.copy
# a checker would take any name then
if not _typing.TYPE_CHECKING:
    __getattr__ = _lacking("nn")
