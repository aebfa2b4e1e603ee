"""Parameter trees: nested containers with arrays for leaves.

Nodes are dict, list, tuple, NamedTuple, attrs classes (their ``__init__``
fields), dataclasses and None, which is an empty node. Anything else is a leaf. A
tree's `Structure` is the tree without its leaves.
"""

from tapegrad.errors.names import list_names as _list_names
from tapegrad.tree.mapping import copy_containers as copy_containers
from tapegrad.tree.mapping import map as map
from tapegrad.tree.mapping import map_with_path as map_with_path
from tapegrad.tree.mapping import zip_leaves as zip_leaves
from tapegrad.tree.operations import Unravel as Unravel
from tapegrad.tree.operations import all_close as all_close
from tapegrad.tree.operations import ravel as ravel
from tapegrad.tree.operations import size as size
from tapegrad.tree.operations import summary as summary
from tapegrad.tree.operations import update as update
from tapegrad.tree.structure import LEAF as LEAF
from tapegrad.tree.structure import Structure as Structure
from tapegrad.tree.structure import Tree as Tree
from tapegrad.tree.structure import flatten as flatten
from tapegrad.tree.structure import format_structure as format_structure
from tapegrad.tree.structure import init_fields as init_fields
from tapegrad.tree.structure import leaves as leaves
from tapegrad.tree.structure import named_children as named_children
from tapegrad.tree.structure import named_leaves as named_leaves
from tapegrad.tree.structure import paths as paths
from tapegrad.tree.structure import prefixed_paths as prefixed_paths
from tapegrad.tree.structure import structure_paths as structure_paths
from tapegrad.tree.structure import unflatten as unflatten

__all__ = ["Structure", "all_close", "flatten", "leaves", "map", "paths", "ravel", "size"]
__all__ += ["summary", "unflatten", "update"]
_list_names(globals())
