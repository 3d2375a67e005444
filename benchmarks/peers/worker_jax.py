"""JAX's worker."""

import os
import sys
from functools import partial

# XLA makes as many threads as this says, and reads it once.
os.environ["NPROC"] = sys.argv[1]
if sys.argv[1] == "1":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np

from .cases import CLIP_NORM, LEARNING_RATE, data, lengths, weights
from .worker import check_outputs, check_steps, check_training, serve

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

jax.config.update("jax_cpu_enable_async_dispatch", False)  # the caller waits anyway


SCANS = {
    "one product": {"hoisted": False},
    "input product before the scan": {"hoisted": True},
    "one product, 4 steps an iteration": {"hoisted": False, "unroll": 4},
}


def gates(z, c):
    """h and c from the gates' sums and the c before."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def direction(given, x, real=None, *, hoisted, reverse=False, every=False, unroll=1, again=False):
    """Last h (B, H), and each step's h (T, B, H) or None, for x (T, B, F).

    real: (T, B, 1), whether a step is no padding; None: all are.
    hoisted: one input product for all steps, before them; else one product over [x, h] in each step.
    again: a backward pass computes the gates again, instead of reading them.
    """
    if hoisted:
        x = x @ given["kernel"] + given["bias"]
        weight = given["recurrent_kernel"]
    else:
        weight = jnp.concatenate((given["kernel"], given["recurrent_kernel"]))

    def one(state, step):
        (h, c), (x_t, is_real) = state, step
        z = x_t + h @ weight if hoisted else jnp.concatenate((x_t, h), 1) @ weight + given["bias"]
        after = gates(z, c)
        h, c = after if is_real is None else (jnp.where(is_real, *pair) for pair in zip(after, state, strict=True))
        return (h, c), h if every else None

    zeros = jnp.zeros((x.shape[1], len(given["recurrent_kernel"])), x.dtype)
    one = jax.checkpoint(one) if again else one
    (h, _), y = jax.lax.scan(one, (zeros, zeros), (x, real), reverse=reverse, unroll=unroll)
    return h, y


def time_major(case):
    """x (T, B, I)."""
    return jnp.asarray(data(case)[0].transpose(1, 0, 2))


def real_steps(case):
    """(T, B, 1): whether a step is no padding."""
    return jnp.asarray((np.arange(case.steps)[:, None] < lengths(case))[:, :, None])


def training(case, threads):
    """Scans, and Adam written by hand."""
    return train(case, None)


def ragged_training(case, threads):
    """The same, padded: past a sequence's end its state stays."""
    return train(case, real_steps(case))


def train(case, real):
    """One jitted function for all of a step; parameters and moments are donated."""
    x, labels = time_major(case), jnp.asarray(data(case)[1])

    def loss(parameters, x, real, labels, **options):
        h, _ = direction(parameters["layers"][0][0], x, real, **options)
        z = h @ parameters["head_weight"] + parameters["head_bias"]
        return -jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], 1).mean()

    def adam(state, gradient):
        parameters, m, v, t = state
        t += 1
        m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, gradient)
        v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, gradient)
        rate, scale = LEARNING_RATE / (1 - BETA_1**t), 1 / (1 - BETA_2**t)
        parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(scale * v) + EPSILON), parameters, m, v)
        return parameters, m, v, t

    def build(**options):
        @partial(jax.jit, donate_argnums=0)
        def update(state, x, real, labels):
            value, gradient = jax.value_and_grad(partial(loss, **options))(state[0], x, real, labels)
            norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradient)))
            gradient = jax.tree.map(lambda g: g * jnp.minimum(1, CLIP_NORM / norm), gradient)
            return adam(state, gradient), value, norm

        parameters = jax.tree.map(jnp.array, weights(case))
        m, v = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
        state = parameters, m, v, jnp.zeros(())

        def step():
            nonlocal state
            state, value, norm = update(state, x, real, labels)
            norm.block_until_ready()
            return value, norm

        return step, check_training(step)

    return {
        "one product": partial(build, hoisted=False),
        "one product, gates computed again": partial(build, hoisted=False, again=True),
        "input product before the scan": partial(build, hoisted=True),
    }


def inference(case, threads):
    """Scans, jitted, with the weights as constants."""
    layers, x = jax.tree.map(jnp.asarray, weights(case)["layers"]), time_major(case)

    def build(**options):
        @jax.jit
        def network(x):
            for i, directions in enumerate(layers, 1):
                every = i < case.layers
                outputs = [
                    direction(given, x, reverse=bool(d), every=every, **options) for d, given in enumerate(directions)
                ]
                h = jnp.concatenate([h for h, _ in outputs], 1)
                x = jnp.concatenate([y for _, y in outputs], 2) if every else None
            return h

        return (lambda: network(x).block_until_ready()), check_outputs(network(x))

    return {name: partial(build, **options) for name, options in SCANS.items()}


def ragged_inference(case, threads):
    """The same, padded: past a sequence's end its state stays."""
    given, x, real = jax.tree.map(jnp.asarray, weights(case)["layers"][0][0]), time_major(case), real_steps(case)

    def build(**options):
        network = jax.jit(lambda x, real: direction(given, x, real, **options)[0])
        return (lambda: network(x, real).block_until_ready()), check_outputs(network(x, real))

    return {name: partial(build, **options) for name, options in SCANS.items()}


def step(case, threads):
    """A jitted cell whose states are donated: it may write the new ones over the old."""
    given = jax.tree.map(jnp.asarray, weights(case)["layers"][0][0])
    weight = jnp.concatenate((given["kernel"], given["recurrent_kernel"]))
    x = jnp.asarray(data(case)[0][:, 0])

    def one_product(x, h, c):
        return gates(jnp.concatenate((x, h), 1) @ weight + given["bias"], c)

    def two_products(x, h, c):
        return gates(x @ given["kernel"] + h @ given["recurrent_kernel"] + given["bias"], c)

    def stepper(cell, **options):
        cell = jax.jit(cell, **options)
        h, c = (jnp.zeros((case.batch, case.hidden)) for _ in range(2))

        def run():
            nonlocal h, c
            h, c = cell(x, h, c)
            h.block_until_ready()

        return run, check_steps(run, lambda: h)

    return {
        "one product": partial(stepper, one_product),
        "one product, states donated": partial(stepper, one_product, donate_argnums=(1, 2)),
        "two products, states donated": partial(stepper, two_products, donate_argnums=(1, 2)),
    }


if __name__ == "__main__":
    serve(
        lambda: f"JAX {jax.__version__}",
        {
            "training": training, "ragged-training": ragged_training, "inference": inference,
            "ragged-inference": ragged_inference, "step": step,
        },
    )  # fmt: skip
