"""The LSTM network of lstmfast, written to be read: float64, one sequence at a time, plain NumPy.

Legend   T steps, F features, H hidden units, D directions of a layer (1, or 2 if bidirectional), K outputs.
         W kernel (F, 4H), R recurrent_kernel (H, 4H), b bias (4H,).
         Gates i (input), f (forget), g (candidate), o (output) stand in this order in the 4H columns.
         dA is the gradient of the loss with respect to A. A backward step has the number of the forward step it undoes.

Forward runs on complex numbers too (comparisons look at the real part), because dL/dp = Im L(p + 1j e) / e for a tiny
e subtracts no two nearly equal numbers: it checks a gradient to the last digits (test_reference.py does).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LAYER_PARAMETERS = ("kernel", "recurrent_kernel", "bias")
NO_GRADIENT = np.zeros(2)  # of the final state, of either direction
READING_ORDER = {"forward": slice(None), "backward": slice(None, None, -1)}  # of the steps, by either direction


def _wide(array):
    return np.asarray(array, dtype=np.result_type(np.asarray(array), np.float64))  # complex stays complex


def _abs(a):
    return np.where(a.real >= 0, a, -a)  # np.abs of a complex number would drop the complex step


def sigmoid(z):
    """1 / (1 + exp(-z)), without overflow: exp only ever sees -|z|."""
    e = np.exp(-_abs(_wide(z)))
    return np.where(z.real >= 0, 1, e) / (1 + e)


# ---- one direction of one layer -------------------------------------------------------------------------------------
def lstm_forward(x, kernel, recurrent_kernel, bias, h0=None, c0=None, recurrent_mask=None):
    """x (T, F) -> y (T, H), the final state (h, c) each (H,), and a cache for lstm_backward.

    Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000. recurrent_mask m (H,), constant over the
    steps, is the dropout of Gal & Ghahramani 2016: it multiplies h_prev in the product only, not y and not c.
    """
    x, kernel, recurrent_kernel, bias = map(_wide, (x, kernel, recurrent_kernel, bias))
    zeros = np.zeros(len(recurrent_kernel))
    h, c = (zeros if state is None else _wide(state) for state in (h0, c0))
    mask = 1.0 if recurrent_mask is None else recurrent_mask
    y, steps = [], []
    for x_t in x:
        h_prev, c_prev = h, c
        # (1) z = x W + (m * h_prev) R + b
        z_i, z_f, z_g, z_o = np.split(x_t @ kernel + (mask * h_prev) @ recurrent_kernel + bias, 4)
        # (2) i, f, o = sigmoid(z_i, z_f, z_o);  g = tanh(z_g)
        i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
        # (3) c = f * c_prev + i * g
        c = f * c_prev + i * g
        # (4) h = o * tanh(c)
        h = o * np.tanh(c)
        y.append(h)
        steps.append((h_prev, c_prev, i, f, g, o, c))
    return np.stack(y), (h, c), (x, kernel, recurrent_kernel, mask, steps)


def lstm_backward(dy, dh, dc, cache):
    """dy (T, H), and dh, dc (H,) of the final state -> dx, dkernel, drecurrent_kernel, dbias, dh0, dc0."""
    x, kernel, recurrent_kernel, mask, steps = cache
    dx, dkernel, drecurrent_kernel, dbias = (np.zeros(a.shape) for a in (x, kernel, recurrent_kernel, kernel[0]))
    for t in reversed(range(len(x))):
        h_prev, c_prev, i, f, g, o, c = steps[t]
        # h_t reaches the loss as y_t and through step t + 1, or as the final state
        dh = dh + dy[t]
        # (4) do = dh tanh(c);  dc += dh o (1 - tanh(c)^2)
        do = dh * np.tanh(c)
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        # (3) di = dc g;  df = dc c_prev;  dg = dc i;  dc_prev = dc f
        di, df, dg = dc * g, dc * c_prev, dc * i
        dc = dc * f
        # (2) sigmoid' = s (1 - s);  tanh' = 1 - tanh^2
        dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)])
        # (1) dW = x^T dz;  dR = (m h_prev)^T dz;  db = dz;  dx = dz W^T;  dh_prev = m * dz R^T
        dkernel += np.outer(x[t], dz)
        drecurrent_kernel += np.outer(mask * h_prev, dz)
        dbias += dz
        dx[t] = kernel @ dz
        dh = mask * (recurrent_kernel @ dz)
    return dx, dkernel, drecurrent_kernel, dbias, dh, dc


# ---- one layer: {"forward": (kernel, recurrent_kernel, bias) or None, "backward": likewise, the reversed direction} --
def _directions(layer):
    return [direction for direction in READING_ORDER if layer.get(direction) is not None]


def layer_forward(x, layer, h0=None, c0=None, masks=None):
    """x (T, F), h0 and c0 (D, H) -> y (T, D H), the final states (h, c) each (D, H), and a cache.

    The backward direction reads the sequence reversed. Its outputs are put back in time order, so that y[t] is
    [forward's h after reading steps 0..t, backward's h after reading steps T-1..t].
    masks, one sequence's dropout, constant over its steps: {"input": (F,), "forward": (H,), "backward": (H,)}, the
    last two being recurrent masks; any may be None or missing.
    """
    masks = {name: mask for name, mask in (masks or {}).items() if mask is not None}
    x = _wide(x) * masks.get("input", 1.0)
    ys, states, caches = [], [], []
    for d, direction in enumerate(_directions(layer)):
        order = READING_ORDER[direction]
        h0_d, c0_d = (None if state is None else state[d] for state in (h0, c0))
        y, state, cache = lstm_forward(x[order], *layer[direction], h0_d, c0_d, masks.get(direction))
        ys.append(y[order])
        states.append(state)
        caches.append(cache)
    h, c = map(np.stack, zip(*states, strict=True))
    return np.concatenate(ys, axis=1), (h, c), (layer, masks, caches)


def layer_backward(dy, dh, dc, cache):
    """dy (T, D H), dh and dc (D, H) -> dx, {direction: (dkernel, drecurrent_kernel, dbias)}, dh0, dc0 each (D, H)."""
    layer, masks, caches = cache
    dx, gradients, dstates = 0.0, {}, []
    for d, direction in enumerate(_directions(layer)):
        order = READING_ORDER[direction]
        dy_d = np.split(dy, len(caches), axis=1)[d]
        dx_d, *gradients[direction], dh0_d, dc0_d = lstm_backward(dy_d[order], dh[d], dc[d], caches[d])
        dx = dx + dx_d[order]
        dstates.append((dh0_d, dc0_d))
    dh0, dc0 = map(np.stack, zip(*dstates, strict=True))
    return dx * masks.get("input", 1.0), gradients, dh0, dc0


# ---- the network: recurrent layers, pooling over the steps, dense layers --------------------------------------------
@dataclass
class Network:
    layers: list  # as described above layer_forward
    pooling: str = "last"  # "last" | "mean" | "max"
    dense: tuple = ()  # (weight (D_in, D_out), bias (D_out,)) each; relu between them, none after the last

    def parameters(self):
        """{name: array}, in network order: "layers.0.forward.kernel", ..., "dense.0.weight", "dense.0.bias"."""
        named = {
            f"layers.{k}.{direction}.{name}": array
            for k, layer in enumerate(self.layers)
            for direction in _directions(layer)
            for name, array in zip(LAYER_PARAMETERS, layer[direction], strict=True)
        }
        for k, (weight, bias) in enumerate(self.dense):
            named |= {f"dense.{k}.weight": weight, f"dense.{k}.bias": bias}
        return named


def pool_forward(y, h, pooling):
    """y (T, D H) and the final h (D, H) -> one vector (D H,)."""
    if pooling == "last":  # after each direction's OWN last step: step T - 1 forward, step 0 backward
        return h.ravel()
    if pooling == "mean":
        return y.mean(axis=0)
    return y[y.real.argmax(axis=0), np.arange(y.shape[1])]  # "max"; the first of equals


def pool_backward(dpooled, y, h, pooling):
    """-> dy (T, D H), dh (D, H)."""
    dy = np.zeros(y.shape)
    if pooling == "last":
        return dy, dpooled.reshape(h.shape)
    if pooling == "mean":
        return dy + dpooled / len(y), NO_GRADIENT
    dy[y.real.argmax(axis=0), np.arange(y.shape[1])] = dpooled
    return dy, NO_GRADIENT


def network_forward(network, x, masks=None):
    """x (T, F) -> output (K,), cache.

    masks, one sequence's dropout: {"layers": [see layer_forward], "dense": [(D_in,) or None for each dense layer]}.
    """
    masks = masks or {"layers": [None] * len(network.layers), "dense": [None] * len(network.dense)}
    # (1) recurrent layers
    y, layer_caches = x, []
    for layer, layer_masks in zip(network.layers, masks["layers"], strict=True):
        y, (h, _), cache = layer_forward(y, layer, masks=layer_masks)
        layer_caches.append(cache)
    # (2) pooling
    a = pool_forward(y, h, network.pooling)
    # (3) dense layers: z = (m * a) W + b;  a = relu(z), but z itself after the last
    dense_caches = []
    for k, ((weight, bias), mask) in enumerate(zip(network.dense, masks["dense"], strict=True)):
        mask = 1.0 if mask is None else mask
        z = (mask * a) @ _wide(weight) + _wide(bias)
        slope = np.ones(len(z)) if k == len(network.dense) - 1 else (z.real > 0).astype(float)  # relu'(0) = 0
        dense_caches.append((mask, a, slope))
        a = z * slope
    return a, (network, layer_caches, (y, h), dense_caches)


def network_backward(doutput, cache):
    """doutput (K,) -> gradients {name: array} keyed like Network.parameters, dx (T, F)."""
    network, layer_caches, (y, h), dense_caches = cache
    da, gradients = doutput, {}
    # (3)
    for k in reversed(range(len(network.dense))):
        mask, a, slope = dense_caches[k]
        dz = da * slope
        gradients[f"dense.{k}.weight"] = np.outer(mask * a, dz)
        gradients[f"dense.{k}.bias"] = dz
        da = mask * (_wide(network.dense[k][0]) @ dz)
    # (2)
    dy, dh = pool_backward(da, y, h, network.pooling)
    # (1)
    for k in reversed(range(len(network.layers))):
        dy, by_direction, _, _ = layer_backward(dy, dh, NO_GRADIENT, layer_caches[k])
        for direction, arrays in by_direction.items():
            gradients |= {f"layers.{k}.{direction}.{n}": a for n, a in zip(LAYER_PARAMETERS, arrays, strict=True)}
        dh = NO_GRADIENT  # the layers below pass on their y; only the top layer's final h can be pooled
    return gradients, dy


# ---- losses of one sequence: output (K,), target -> value, doutput (K,) ---------------------------------------------
def cross_entropy(output, target):
    """Softmax cross-entropy with an integer target: log sum_k exp(p_k) - p_target."""
    e = np.exp(output - output.real.max())
    value = np.log(e.sum()) + output.real.max() - output[target]
    return value, e / e.sum() - (np.arange(len(output)) == target)


def binary_cross_entropy(output, target):
    """Multilabel, mean over K: log(1 + exp(p)) - t p, which is -t log s - (1 - t) log(1 - s) with s = sigmoid(p)."""
    softplus = np.where(output.real > 0, output, 0) + np.log1p(np.exp(-_abs(output)))
    return (softplus - target * output).mean(), (sigmoid(output) - target) / len(output)


def squared_error(output, target):
    r = output - target
    return (r**2).mean(), 2 * r / len(r)


def absolute_error(output, target):
    r = output - target
    return _abs(r).mean(), np.sign(r.real) / len(r)  # 0 at r = 0


def huber(output, target):
    """r^2 / 2 where |r| <= 1, |r| - 1/2 beyond."""
    r = output - target
    value = np.where(_abs(r).real <= 1, r**2 / 2, _abs(r) - 0.5)
    return value.mean(), np.clip(r.real, -1, 1) / len(r)


def quantile(output, target, level):
    """Pinball: with r = p - t, (1 - level) r where p is too high, -level r where it is too low."""
    r = output - target
    slope = np.where(r.real > 0, 1 - level, -level) * (r.real != 0)
    return (slope * r).mean(), slope / len(r)


LOSSES = {f.__name__: f for f in (cross_entropy, binary_cross_entropy, squared_error, absolute_error, huber)}


def penalty(parameters, alpha, l1_ratio):
    """alpha (l1_ratio sum|W| + (1 - l1_ratio) / 2 sum W^2), over weight matrices W, not biases -> value, gradients."""
    value, gradients = 0.0, {}
    for name, array in parameters.items():
        w = _wide(array) if not name.endswith("bias") else np.zeros(array.shape)
        value = value + alpha * (l1_ratio * _abs(w).sum() + (1 - l1_ratio) / 2 * (w**2).sum())
        gradients[name] = alpha * (l1_ratio * np.sign(w.real) + (1 - l1_ratio) * w)
    return value, gradients


def objective(network, xs, targets, loss, sample_weight=None, masks=None, alpha=0, l1_ratio=0, backward=True):
    """sum_s w_s loss_s / sum_s w_s + penalty -> value, gradients {name: array}, [dx (T_s, F) a sequence].

    xs: sequences (T_s, F); masks: None or what network_forward takes, for each sequence; loss: a name in LOSSES or a
    function like those, for example functools.partial(quantile, level=0.9).
    With backward=False the gradients hold the penalty alone, and the list is empty.
    """
    (value, gradients), dxs = penalty(network.parameters(), alpha, l1_ratio), []
    weights = np.ones(len(xs)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    for s, weight in enumerate(weights / weights.sum()):
        output, cache = network_forward(network, xs[s], masks and masks[s])
        loss_of_sequence, doutput = LOSSES.get(loss, loss)(output, targets[s])
        value = value + weight * loss_of_sequence
        if backward:
            of_sequence, dx = network_backward(weight * doutput, cache)
            gradients = {name: gradient + of_sequence[name] for name, gradient in gradients.items()}
            dxs.append(dx)
    return value, gradients, dxs


# ---- golden data ----------------------------------------------------------------------------------------------------
def load_golden(path=Path(__file__).parent / "golden" / "torch_lstm.npz"):
    """A dict a case (golden/README.md): NAME/layers/0/forward/kernel is case["layers"][0]["forward"]["kernel"]."""
    cases = {}
    with np.load(path) as data:
        for key in data.files:
            name, *folders, leaf = key.split("/")
            node = cases.setdefault(name, {"name": name})
            for folder in folders:
                node = node.setdefault(folder, {})
            node[leaf] = data[key]
    for case in cases.values():
        case["layers"] = [case["layers"][str(k)] for k in range(len(case["layers"]))]
    return list(cases.values())
