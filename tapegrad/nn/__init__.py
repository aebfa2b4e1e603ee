"""Layers, losses and initializers.

A layer is a frozen description: ``layer.init(key)`` draws its parameters, a tree of
read-only arrays, and ``layer(params, x)`` is a pure function of them.
"""

from tapegrad.nn.layers import Embedding as Embedding
from tapegrad.nn.layers import Linear as Linear
from tapegrad.nn.layers import Relu as Relu
from tapegrad.nn.layers import Sequential as Sequential
from tapegrad.nn.layers import Sigmoid as Sigmoid
from tapegrad.nn.layers import Tanh as Tanh
from tapegrad.nn.losses import cross_entropy_loss as cross_entropy_loss
from tapegrad.nn.losses import mse_loss as mse_loss
from tapegrad.nn.recurrent import RNNCell as RNNCell
