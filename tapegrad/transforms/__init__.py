"""Transforms of functions: gradients, pullbacks, tangents, second derivatives.

Each records its function, sweeps the tape and puts the gradients into the trees
that the arguments came in. Inside a recording all of it is recorded, so the transforms
nest in any order.
"""

from tapegrad.transforms.base import Grad as Grad
from tapegrad.transforms.base import ValueAndGrad as ValueAndGrad
from tapegrad.transforms.base import check_scalar as check_scalar
from tapegrad.transforms.gradients import grad as grad
from tapegrad.transforms.gradients import value_and_grad as value_and_grad
