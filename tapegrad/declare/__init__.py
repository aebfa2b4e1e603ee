"""Declarations of ops, batching rules, parts of several results, and ops of the user's own."""

from tapegrad.declare.declarations import FUNCTIONS as FUNCTIONS
from tapegrad.declare.declarations import OPS as OPS
from tapegrad.declare.declarations import Declaration as Declaration
from tapegrad.declare.declarations import declaration as declaration
from tapegrad.declare.declarations import declare as declare
from tapegrad.declare.declarations import facts as facts
from tapegrad.declare.declarations import function as function
from tapegrad.declare.declarations import is_elementwise as is_elementwise
from tapegrad.declare.declarations import key_of as key_of
from tapegrad.declare.declarations import linear_op as linear_op
from tapegrad.declare.declarations import op as op
from tapegrad.declare.declarations import renamed as renamed
from tapegrad.declare.declarations import wider_op as wider_op
