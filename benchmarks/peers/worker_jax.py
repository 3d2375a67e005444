"""JAX's worker."""

import os
import sys

# XLA makes as many threads as this says, and reads it once.
os.environ["NPROC"] = sys.argv[1]
if sys.argv[1] == "1":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp

from .cases import data, weights
from .worker import check_outputs, check_steps, serve

jax.config.update("jax_cpu_enable_async_dispatch", False)  # the caller waits anyway


def gates(z, c):
    """h and c from the gates' sums and the c before."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def direction(given, x, *, hoisted, reverse, every, unroll):
    """Last h (B, H), and each step's h (T, B, H) or None, for x (T, B, F).

    hoisted: one input product for all steps, before them; else one product over [x, h] in each step.
    """
    if hoisted:
        x = x @ given["kernel"] + given["bias"]
        weight = given["recurrent_kernel"]
    else:
        weight = jnp.concatenate((given["kernel"], given["recurrent_kernel"]))

    def one(state, x_t):
        h, c = state
        z = x_t + h @ weight if hoisted else jnp.concatenate((x_t, h), 1) @ weight + given["bias"]
        h, c = gates(z, c)
        return (h, c), h if every else None

    zeros = jnp.zeros((x.shape[1], len(given["recurrent_kernel"])), x.dtype)
    (h, _), y = jax.lax.scan(one, (zeros, zeros), x, reverse=reverse, unroll=unroll)
    return h, y


def inference(case, threads):
    """Scans, jitted, with the weights as constants."""
    layers = jax.tree.map(jnp.asarray, weights(case)["layers"])
    x = jnp.asarray(data(case)[0].transpose(1, 0, 2))

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

    return {
        "one product": build(hoisted=False, unroll=1),
        "input product before the scan": build(hoisted=True, unroll=1),
        "one product, 4 steps an iteration": build(hoisted=False, unroll=4),
    }


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
        "one product": stepper(one_product),
        "one product, states donated": stepper(one_product, donate_argnums=(1, 2)),
        "two products, states donated": stepper(two_products, donate_argnums=(1, 2)),
    }


if __name__ == "__main__":
    serve(lambda: f"JAX {jax.__version__}", {"inference": inference, "step": step})
