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

from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.errors.names import list_names as _list_names
from tapegrad.nn import initializers as initializers
from tapegrad.nn.attention import *
from tapegrad.nn.convolution import *
from tapegrad.nn.layers import *
from tapegrad.nn.losses import *
from tapegrad.nn.normalization import *
from tapegrad.nn.recurrent import *
from tapegrad.nn.sequential import *

__all__ = [*_public_names(globals()), "initializers"]
_list_names(globals())
