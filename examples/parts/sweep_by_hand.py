# %% [markdown]
# # The sweep, by hand
#
# The heart of tapegrad is one loop over a tape. On this page you write the loop, add your own
# op, and check both. You need part 4 (the order of the sweep) and part 5 (rules), and half an
# hour.

# %%
import numpy as np

import tapegrad as tg


def f(a, b):
    c = a * b
    return tg.sum(tg.tanh(c) + c)


a, b = np.array([[1.0, -0.5, 2.0], [0.0, 0.3, -1.0]]), np.array([0.5, 2.0, -1.0])
output, tape = tg.record(f)(a, b)
print(tape)

# %% [markdown]
# ## 1. The fields of a record
#
# A tape is read from its newest record with `reversed(tape)`. A record has its `value`, the
# `op` that wrote it, its `operands` (other records, or constants) and the op's `options`,
# such as an axis. The op has its rules, one for each operand: `op.vjps`.

# %%
for record in reversed(tape):
    print(record.index, record.op.name, [x.index for x in record.operands], dict(record.options))

# %% [markdown]
# A rule is called with the cotangent of the output, the output, the operands and the options.
# Line 2 is the product of lines 0 and 1. Say its cotangent is all ones: what do the rules for
# operand 0 and operand 1 return?

# %%
product = tape.parameters[0].value * tape.parameters[1].value
for rule in tg.multiply.vjps:
    print(rule(np.ones((2, 3)), product, a, b))

# %% [markdown]
# The second has the shape (2, 3), but `b` has the shape (3,): the product used each of
# `b`'s elements twice, once in each row. Its gradient is the sum over these uses. This
# undoes NumPy's broadcasting:


# %%
def unbroadcast(cotangent, shape):
    cotangent = np.asarray(cotangent)
    extra = cotangent.ndim - len(shape)
    cotangent = cotangent.sum(tuple(range(extra)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1)
    return cotangent.sum(stretched, keepdims=True)


print(unbroadcast(np.ones((2, 3)), (3,)))

# %% [markdown]
# ## 2. Write the sweep
#
# Keep the known cotangents in a dictionary whose keys are records. At first it has only the
# cotangent of the output, which is 1: `{output: 1.0}`. Go through the tape backwards. If a record
# has a cotangent, it is complete: call each rule that is not `None`, undo the broadcasting, and
# add the result to the operand's cotangent, if the operand is a record. Return the dictionary: it
# has the gradient of each parameter.
#
# Twelve lines are enough. Write them in place of `return ...`, and run this file. It checks your
# sweep. One solution is further down.


# %%
def your_sweep(tape, output):
    return ...


# %%
expected = tg.reverse_sweep(tape, output)
yours = your_sweep(tape, output)
if yours is ...:
    print("No sweep yet: write one above, and run this file again.")
else:
    for parameter in tape.parameters:
        wanted, found = expected[parameter], (yours or {}).get(parameter)
        assert found is not None, f"no gradient of {parameter.name} in what your sweep returned"
        is_right = np.shape(found) == wanted.shape and np.allclose(found, wanted)
        assert is_right, f"{parameter.name}: {found}, and it should be {wanted}"
    print("Your sweep is right.")

# %% [markdown]
# ## 3. One solution


# %%
def sweep(tape, output):
    cotangents = {output: np.ones(output.shape)}
    for record in reversed(tape):
        if record not in cotangents:
            continue  # the output does not depend on it
        values = [x.value if isinstance(x, tg.Tensor) else x for x in record.operands]
        for x, rule in zip(record.operands, record.op.vjps):
            if isinstance(x, tg.Tensor) and rule is not None:
                c = rule(cotangents[record], record.value, *values, **record.options)
                cotangents[x] = cotangents.get(x, 0) + unbroadcast(c, x.shape)
    return {p: cotangents.get(p, np.zeros(p.shape)) for p in tape.parameters}


for parameter, gradient in sweep(tape, output).items():
    print(parameter.name, gradient)
    assert np.allclose(gradient, expected[parameter])

# %% [markdown]
# There is no recursion, nothing to count and nothing to clear. `tg.reverse_sweep` is this
# loop. It also drops used cotangents, skips operands that depend on no parameter, keeps dtypes,
# and explains faults. `tg.sweep_steps` is this loop too, and describes each step:

# %%
for step in tg.sweep_steps(tape, output):
    print(step)

# %% [markdown]
# To watch it, run `tg.show.html(tape, output, "sweep.html")` and open that file in a browser.
# Its button *Predict first* asks you for each contribution before the page shows it.
#
# ## 4. An op
#
# The softsign, `x / (1 + |x|)`, is a cheap relative of tanh. Its derivative is
# `1 / (1 + |x|)**2`.


# %%
@tg.custom_op(vjps=(lambda g, y, x: g / (1 + np.abs(x)) ** 2,))
def softsign(x):
    return x / (1 + np.abs(x))


output, tape = tg.record(lambda x: tg.sum(softsign(x)))(b)
print(tape)
print(sweep(tape, output)[tape.parameters[0]])

# %% [markdown]
# ## 5. Check it
#
# To see a derivative from outside, change the input a little and see how the output changes:
# that is a finite difference, which uses no rule. `check_grads` compares first and second
# derivatives with finite differences.

# %%
step = 1e-6
difference = (softsign(b + step) - softsign(b - step)) / (2 * step)
print("finite differences", difference)
assert np.allclose(difference, sweep(tape, output)[tape.parameters[0]])
tg.testing.check_grads(softsign, (b,))

# %% [markdown]
# A check is useful only if it fails for a wrong rule. Here is a rule that forgets the
# square:

# %%
wrong = tg.custom_op(vjps=(lambda g, y, x: g / (1 + np.abs(x)),))(lambda x: x / (1 + np.abs(x)))
try:
    tg.testing.check_grads(wrong, (b,))
except AssertionError as error:
    print("AssertionError:", error)
else:
    raise SystemExit("the wrong rule was not caught")

# %% [markdown]
# ## 6. Yours
#
# Write the rule of the bump `y = exp(-x**2)`, and let the last cell check it. The derivative
# is shortest with the output `y`.

# %%
guess = ...  # lambda g, y, x: ...

# %%
if guess is ...:
    print("No rule yet: write one above, and run this file again.")
else:
    bump = tg.custom_op(vjps=(guess,))(lambda x: np.exp(-(x**2)))
    tg.testing.check_grads(bump, (b,))
    print("Your rule is right.")
