"""Random numbers as pure functions of a key: the same key gives the same numbers.

A key is a read-only array of two ``uint64`` words, the key of NumPy's counter-based generator
Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). A draw reads the words
that Philox makes from the counters 0, 1, 2 and so on. `split` and `fold_in` read a new key from a
block of counters that no draw reaches: the highest of the counter's four words is 0 for draws, 1
for `split` and 2 for `fold_in`. For one key Philox maps counters to blocks one to one, without any
structure that the usual test batteries find, so keys made in this way collide as rarely as 128
random bits (splitting by a keyed function: Claessen and Palka 2013, "Splittable pseudorandom
number generators using cryptographic hashing"). Keys are not secrets.

Keys, and keys split from them, are the same on every platform and with every version of NumPy.
Draws agree with `numpy.random.Generator`: they are the same on every platform for one version of
NumPy, and a later version may improve an algorithm.

A function that takes a key also takes an integer or a `numpy.random.SeedSequence`, as a short form
of ``key(seed)``. Use a key once: two draws with the same key see the same random bits. In a loop,
split off a new key in each step::

    key, now = tg.random.split(key)
    noise = tg.random.normal(now, x.shape)

or make the key of step `i` with ``tg.random.fold_in(key, i)``.

Every function here is recorded if the key is a Tensor, so a key is an input of a compiled program,
and the program draws when it runs. A draw has no gradient; ``mean + scale * tg.random.normal(key,
shape)`` has one with respect to ``mean`` and ``scale``.
"""

from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.errors.names import list_names as _list_names
from tapegrad.random.draws import *
from tapegrad.random.keys import *

__all__ = _public_names(globals())
_list_names(globals())
