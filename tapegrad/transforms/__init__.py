"""Transforms of functions: gradients, pullbacks, tangents, second derivatives.

A transform records its function, sweeps the tape and returns gradients in trees like the
arguments. Inside a recording the sweep is recorded too, so the transforms nest in any order.
"""

from tapegrad.transforms.base import Grad as Grad
from tapegrad.transforms.base import ValueAndGrad as ValueAndGrad
from tapegrad.transforms.base import check_scalar as check_scalar
from tapegrad.transforms.gradients import grad as grad
from tapegrad.transforms.gradients import value_and_grad as value_and_grad
