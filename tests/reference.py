"""The networks of lstmfast, written to be read: float64, one sequence at a time, plain NumPy.

Legend   T steps, F features, H hidden units, D directions of a layer (1, or 2 if bidirectional), K outputs.
         W kernel, R recurrent_kernel, b bias; W_i (F, H) is gate i's block of the columns of W, and so on.
         σ the recurrent activation, of the gates that open and close; φ the activation, of what they let through.
         dA is the gradient of the loss with respect to A. A backward step has the number of the forward step it undoes.

Forward runs on complex numbers too (comparisons look at the real part), because dL/dp = Im L(p + 1j e) / e for a tiny
e subtracts no two nearly equal numbers: it checks a gradient to the last digits (test_reference.py does).
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

READING_ORDER = {"forward": slice(None), "backward": slice(None, None, -1)}  # of the steps, by either direction

# The parameters of a direction of each kind of cell, in order, and the gates whose blocks lie side by side in each.
PARAMETERS = {
    "lstm": {"kernel": "ifgo", "recurrent_kernel": "ifgo", "bias": "ifgo"},
    "lstm-peephole": {"kernel": "ifgo", "recurrent_kernel": "ifgo", "bias": "ifgo", "peephole": "ifo"},
    "lstm-full-peephole": {"kernel": "ifgo", "recurrent_kernel": "ifgo", "bias": "ifgo", "peephole_kernel": "ifgo"},
    "lstm-coupled": {"kernel": "fgo", "recurrent_kernel": "fgo", "bias": "fgo"},
    "lstm-gated-recurrence": {"kernel": "ifgo", "recurrent_kernel": "ifgo", "bias": "ifgo"},
    "lstm-cell-recurrent": {"kernel": "ifo", "recurrent_kernel": "ifgo", "bias": "ifgo"},
    "gru": {"kernel": "rzn", "recurrent_kernel": "rzn", "bias": "rzn", "recurrent_bias": "n"},
    "gru-reset-before": {"kernel": "rzn", "recurrent_kernel": "rzn", "bias": "rzn"},
    "rnn": {"kernel": "h", "recurrent_kernel": "h", "bias": "h"},
}
CONV, ATTENTION = ("kernel", "bias"), ("kernel", "bias", "context")
LAYER_PARAMETERS = tuple(PARAMETERS["lstm"])


def parameter_shapes(kind, n_features, n_units):
    """{name: shape} of the parameters of one direction, in order."""
    rows = {"kernel": (n_features,), "recurrent_kernel": (n_units,), "peephole_kernel": (n_units,)}
    shapes = {name: (*rows.get(name, ()), len(gates) * n_units) for name, gates in PARAMETERS[kind].items()}
    return shapes | ({"peephole": (3, n_units)} if "peephole" in shapes else {})


@dataclass(frozen=True)
class Cell:
    """What the parameters do not say."""

    kind: str = "lstm"  # a key of PARAMETERS
    activation: str = "tanh"  # φ, of g, n, the RNN's h, and of c on its way out of the LSTM
    recurrent_activation: str = "sigmoid"  # σ, of i, f, o, r, z
    clip: float | None = None  # the arguments of these functions, but not the LSTM's φ(c), are clipped to [-clip, clip]


LSTM = Cell()


def _wide(array):
    return np.asarray(array, dtype=np.result_type(np.asarray(array), np.float64))  # complex stays complex


# ---- activations ----------------------------------------------------------------------------------------------------
def _abs(a):
    return np.where(a.real >= 0, a, -a)  # np.abs of a complex number would drop the complex step


def _clip(z, limit):
    return np.where(_inside(z, limit), z, limit * np.sign(z.real))


def _inside(z, limit):
    return np.abs(z.real) < limit


def sigmoid(z):
    """1 / (1 + exp(-z)), without overflow: exp only ever sees -|z|."""
    e = np.exp(-_abs(_wide(z)))
    return np.where(z.real >= 0, 1, e) / (1 + e)


def elu(z):
    return np.where(z.real > 0, z, np.expm1(np.where(z.real > 0, 0, z)))


ACTIVATIONS = {  # a = function(z), and its slope from z and a: 0 where a function with kinks is flat, and at its kinks
    "identity": (lambda z: z, lambda z, a: np.ones(z.shape)),
    "tanh": (np.tanh, lambda z, a: 1 - a**2),
    "sigmoid": (sigmoid, lambda z, a: a * (1 - a)),
    "hard_sigmoid": (lambda z: _clip(z, 3) / 6 + 0.5, lambda z, a: _inside(z, 3) / 6),
    "relu": (lambda z: np.where(z.real > 0, z, 0), lambda z, a: z.real > 0),
    "elu": (elu, lambda z, a: np.where(z.real > 0, 1, 1 + a)),
    "softsign": (lambda z: z / (1 + _abs(z)), lambda z, a: 1 / (1 + _abs(z)) ** 2),
    "hard_tanh": (lambda z: _clip(z, 1), lambda z, a: _inside(z, 1)),
}


# ---- one gate at one step -------------------------------------------------------------------------------------------
class Gate:
    """value = function(clip(z)), where z = the sum of the sources times this gate's blocks of the parameters, + plus.

    parameters: {name: {gate: block}}; sources: {name of the parameter that it meets: vector}, of which a gate that has
    no block in that parameter sees nothing. A matrix takes a product, a vector (bias, peephole) multiplies elementwise.
    """

    def __init__(self, cell, parameters, gate, sources, plus=0.0):
        self.gate = gate
        self.terms = {
            name: (source, parameters[name][gate])
            for name, source in sources.items()
            if gate in parameters.get(name, ())
        }
        z = sum((source @ w if w.ndim == 2 else source * w for source, w in self.terms.values()), plus)
        function, slope = ACTIVATIONS[cell.recurrent_activation if gate in "iforz" else cell.activation]
        clipped = z if cell.clip is None else _clip(z, cell.clip)
        self.value = function(clipped)
        self.slope = slope(clipped, self.value) * (1.0 if cell.clip is None else _inside(z, cell.clip))

    def backward(self, dvalue, gradients):
        """Adds to gradients, laid out as parameters; -> the gradients of the sources, 0 for one not seen, and plus."""
        dz = dvalue * self.slope
        for name, (source, w) in self.terms.items():
            gradients[name][self.gate] += np.outer(source, dz) if w.ndim == 2 else source * dz
        dsources = {name: w @ dz if w.ndim == 2 else w * dz for name, (_, w) in self.terms.items()}
        return defaultdict(float, dsources, plus=dz)


# ---- one step of each family ----------------------------------------------------------------------------------------
# forward: x (F,), h_prev and c_prev (H,) -> h, c and a cache; backward: dh, dc (H,) -> dx, dh_prev, dc_prev.
# A recurrent mask m (H,), constant over the steps, is the dropout of Gal & Ghahramani 2016: it multiplies h_prev where
# it enters a product with a parameter, and nowhere else. GRU and RNN have no c.
def lstm_step_forward(cell, parameters, mask, x, h_prev, c_prev):
    """Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, and five variants."""
    mh = mask * h_prev
    # (1) i, f = σ(x W + m h_prev R + b);  with peepholes + p * c_prev or + c_prev V
    sources = {"kernel": x, "recurrent_kernel": mh, "bias": 1.0, "peephole": c_prev, "peephole_kernel": c_prev}
    f = Gate(cell, parameters, "f", sources)
    i = None if cell.kind == "lstm-coupled" else Gate(cell, parameters, "i", sources)
    i_value = i.value if i else 1 - f.value
    # (2) g = φ(likewise), but what R_g meets may be i * m h_prev or c_prev;  no peephole p, and if c_prev R_g no x W
    met = {"lstm-gated-recurrence": i_value * mh, "lstm-cell-recurrent": c_prev}.get(cell.kind, mh)
    g = Gate(cell, parameters, "g", sources | {"recurrent_kernel": met})
    # (3) c = f * c_prev + i * g
    c = f.value * c_prev + i_value * g.value
    # (4) o = σ(as i and f, but p_o * c)
    o = Gate(cell, parameters, "o", sources | {"peephole": c})
    # (5) h = o * φ(c)
    h = o.value * ACTIVATIONS[cell.activation][0](c)
    return h, c, (mask, mh, c_prev, i, i_value, f, g, o, c)


def lstm_step_backward(cell, dh, dc, cache, gradients):
    mask, mh, c_prev, i, i_value, f, g, o, c = cache
    # (5) do = dh φ(c);  dc += dh o φ'(c)
    phi, slope = ACTIVATIONS[cell.activation]
    phi_c = phi(c)
    dc = dc + dh * o.value * slope(c, phi_c)
    # (4)
    of_o = o.backward(dh * phi_c, gradients)
    dc = dc + of_o["peephole"]
    # (3) di = dc g;  df = dc c_prev;  dg = dc i;  dc_prev = dc f
    di, df, dg, dc_prev = dc * g.value, dc * c_prev, dc * i_value, dc * f.value
    # (2)
    of_g = g.backward(dg, gradients)
    dmet = of_g["recurrent_kernel"]
    dmh = 0.0
    if cell.kind == "lstm-gated-recurrence":
        di, dmh = di + dmet * mh, dmet * i_value
    elif cell.kind == "lstm-cell-recurrent":
        dc_prev = dc_prev + dmet
    else:
        dmh = dmet
    # (1)
    of_i = i.backward(di, gradients) if i else defaultdict(float)
    of_f = f.backward(df if i else df - di, gradients)
    dx = of_i["kernel"] + of_f["kernel"] + of_g["kernel"] + of_o["kernel"]
    dmh = dmh + of_i["recurrent_kernel"] + of_f["recurrent_kernel"] + of_o["recurrent_kernel"]
    dc_prev = dc_prev + of_i["peephole"] + of_f["peephole"]
    dc_prev = dc_prev + sum(of["peephole_kernel"] for of in (of_i, of_f, of_g, of_o))
    return dx, mask * dmh, dc_prev


def gru_step_forward(cell, parameters, mask, x, h_prev, _):
    """The reset gate acts after the product with R_n, as in cuDNN, or before it: Cho et al. 2014."""
    mh = mask * h_prev
    # (1) r, z = σ(x W + m h_prev R + b)
    sources = {"kernel": x, "recurrent_kernel": mh, "bias": 1.0}
    r, z = Gate(cell, parameters, "r", sources), Gate(cell, parameters, "z", sources)
    if cell.kind == "gru-reset-before":
        # (2) n = φ(x W + (r * m h_prev) R + b)
        q = None
        n = Gate(cell, parameters, "n", sources | {"recurrent_kernel": r.value * mh})
    else:
        # (2) q = m h_prev R + recurrent_bias;  n = φ(x W + b + r * q)
        q = Gate(Cell(activation="identity"), parameters, "n", {"recurrent_kernel": mh, "recurrent_bias": 1.0})
        n = Gate(cell, parameters, "n", {"kernel": x, "bias": 1.0}, plus=r.value * q.value)
    # (3) h = (1 - z) * n + z * h_prev
    h = (1 - z.value) * n.value + z.value * h_prev
    return h, None, (mask, mh, h_prev, r, z, q, n)


def gru_step_backward(cell, dh, _, cache, gradients):
    mask, mh, h_prev, r, z, q, n = cache
    # (3) dn = dh (1 - z);  dz = dh (h_prev - n);  dh_prev = dh z
    dn, dz, dh_prev = dh * (1 - z.value), dh * (h_prev - n.value), dh * z.value
    # (2)
    of_n = n.backward(dn, gradients)
    if cell.kind == "gru-reset-before":
        dr, dmh = of_n["recurrent_kernel"] * mh, of_n["recurrent_kernel"] * r.value
    else:
        dr, dmh = of_n["plus"] * q.value, q.backward(of_n["plus"] * r.value, gradients)["recurrent_kernel"]
    # (1)
    of_r, of_z = r.backward(dr, gradients), z.backward(dz, gradients)
    dmh = dmh + of_r["recurrent_kernel"] + of_z["recurrent_kernel"]
    return of_r["kernel"] + of_z["kernel"] + of_n["kernel"], dh_prev + mask * dmh, None


def rnn_step_forward(cell, parameters, mask, x, h_prev, _):
    """h = φ(x W + m h_prev R + b): Elman 1990."""
    h = Gate(cell, parameters, "h", {"kernel": x, "recurrent_kernel": mask * h_prev, "bias": 1.0})
    return h.value, None, (mask, h)


def rnn_step_backward(_cell, dh, _, cache, gradients):
    mask, h = cache
    of_h = h.backward(dh, gradients)
    return of_h["kernel"], mask * of_h["recurrent_kernel"], None


STEPS = {
    "lstm": (lstm_step_forward, lstm_step_backward),
    "gru": (gru_step_forward, gru_step_backward),
    "rnn": (rnn_step_forward, rnn_step_backward),
}


# ---- one direction of one layer: its parameters are a tuple, in the order of PARAMETERS[cell.kind] ------------------
def direction_forward(cell, x, parameters, h0=None, c0=None, recurrent_mask=None):
    """x (T, F) -> y (T, H), the final state (h, c), each (H,) or c None, and a cache for direction_backward."""
    x, n_units = _wide(x), len(parameters[1])
    blocks = {}
    for (name, gates), array in zip(PARAMETERS[cell.kind].items(), map(_wide, parameters), strict=True):
        columns = array.ravel() if name == "peephole" else array
        blocks[name] = dict(zip(gates, np.split(columns, len(gates), axis=-1), strict=True))
    h, c = (np.zeros(n_units) if state is None else _wide(state) for state in (h0, c0))
    mask = 1.0 if recurrent_mask is None else recurrent_mask
    step_forward, _ = STEPS[cell.kind.partition("-")[0]]
    y, steps = [], []
    for x_t in x:
        h, c, step = step_forward(cell, blocks, mask, x_t, h, c)
        y.append(h)
        steps.append(step)
    return np.stack(y), (h, c), (cell, x.shape, blocks, steps)


def direction_backward(dy, dh, dc, cache):
    """dy (T, H), and dh, dc (H,) of the final state -> dx, [the gradients of the parameters], dh0, dc0."""
    cell, shape, blocks, steps = cache
    gradients = {name: {gate: np.zeros(w.shape) for gate, w in by_gate.items()} for name, by_gate in blocks.items()}
    _, step_backward = STEPS[cell.kind.partition("-")[0]]
    dx = np.zeros(shape)
    for t in reversed(range(len(dx))):
        # h_t reaches the loss as y_t and through step t + 1, or as the final state
        dx[t], dh, dc = step_backward(cell, dh + dy[t], dc, steps[t], gradients)
    joined = {name: np.concatenate(list(by_gate.values()), axis=-1) for name, by_gate in gradients.items()}
    shapes = parameter_shapes(cell.kind, shape[1], dy.shape[1])
    return dx, [joined[name].reshape(shapes[name]) for name in joined], dh, dc


# ---- one layer: {"forward": its parameters or None, "backward": likewise, of the direction that reads reversed} -----
def _directions(layer):
    return [direction for direction in READING_ORDER if layer.get(direction) is not None]


def _of_direction(states, d):
    """What one direction gets of h and c, each (D, H) or None."""
    return [None if state is None else state[d] for state in states]


def _of_layer(states):
    """The states (h, c) of the directions, each (H,) or None -> h and c, each (D, H) or None."""
    return [
        None if of_directions[0] is None else np.stack(of_directions) for of_directions in zip(*states, strict=True)
    ]


def layer_forward(x, layer, h0=None, c0=None, masks=None, cell=LSTM):
    """x (T, F), h0 and c0 (D, H) -> y (T, D H), the final states (h, c) each (D, H) or c None, and a cache.

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
        h0_d, c0_d = _of_direction((h0, c0), d)
        y, state, cache = direction_forward(cell, x[order], layer[direction], h0_d, c0_d, masks.get(direction))
        ys.append(y[order])
        states.append(state)
        caches.append(cache)
    return np.concatenate(ys, axis=1), tuple(_of_layer(states)), (layer, masks, caches)


def layer_backward(dy, dh, dc, cache):
    """dy (T, D H), dh and dc (D, H) or None -> dx, {direction: [gradients]}, dh0, dc0 each (D, H) or dc0 None."""
    layer, masks, caches = cache
    dx, gradients, dstates = 0.0, {}, []
    for d, direction in enumerate(_directions(layer)):
        order = READING_ORDER[direction]
        dy_d = np.split(dy, len(caches), axis=1)[d]
        dstate_d = [0.0 if dstate is None else dstate for dstate in _of_direction((dh, dc), d)]
        dx_d, gradients[direction], *dstate0_d = direction_backward(dy_d[order], *dstate_d, caches[d])
        dx = dx + dx_d[order]
        dstates.append(dstate0_d)
    return dx * masks.get("input", 1.0), gradients, *_of_layer(dstates)


# ---- a causal convolution with relu: y_t = relu(b + sum_j x_(t - width + 1 + j) K_j), x = 0 before step 0 -----------
def conv_forward(x, kernel, bias, mask=1.0):
    """x (T, C), K (width, C, N) -> y (T, N), cache."""
    padded = np.concatenate([np.zeros((len(kernel) - 1, x.shape[1])), mask * x])
    z = np.array([bias + sum(padded[t + j] @ kernel[j] for j in range(len(kernel))) for t in range(len(x))])
    slope = (z.real > 0).astype(float)
    return z * slope, (padded, kernel, mask, slope)


def conv_backward(dy, cache):
    """dy (T, N) -> dx (T, C), dK, db."""
    padded, kernel, mask, slope = cache
    dz, dpadded, dkernel = dy * slope, np.zeros(padded.shape), np.zeros(kernel.shape)
    for t in range(len(dz)):
        for j in range(len(kernel)):
            dpadded[t + j] += kernel[j] @ dz[t]
            dkernel[j] += np.outer(padded[t + j], dz[t])
    return mask * dpadded[len(kernel) - 1 :], dkernel, dz.sum(axis=0)


# ---- the network: convolutions, recurrent layers, pooling over the steps, dense layers ------------------------------
@dataclass
class Network:
    layers: list  # as described above layer_forward
    pooling: str = "last"  # "last" | "mean" | "max" | "attention"
    dense: tuple = ()  # (weight (D_in, D_out), bias (D_out,)) each; relu between them, none after the last
    cell: Cell = LSTM  # of all layers
    conv: tuple = ()  # (kernel, bias) each
    attention: tuple = ()  # (kernel (D H, A), bias (A,), context (A, 1)) of that pooling

    def parameters(self):
        """{name: array}, in network order: "layers.0.forward.kernel", ..., "dense.0.weight", "dense.0.bias"."""
        named = {f"conv.{k}.{n}": a for k, pair in enumerate(self.conv) for n, a in zip(CONV, pair, strict=True)}
        named |= {
            f"layers.{k}.{direction}.{name}": array
            for k, layer in enumerate(self.layers)
            for direction in _directions(layer)
            for name, array in zip(PARAMETERS[self.cell.kind], layer[direction], strict=True)
        }
        for k, (weight, bias) in enumerate(self.dense):
            named |= {f"dense.{k}.weight": weight, f"dense.{k}.bias": bias}
        return named | {f"attention.{n}": a for n, a in zip(ATTENTION, self.attention, strict=False)}


def attend(y, attention):
    """y (T, D H) -> u = tanh(y K + b) (T, A), weights = softmax over t of u_t . context (T,)."""
    kernel, bias, context = attention
    u = np.tanh(y @ kernel + bias)
    e = np.exp(u @ context[:, 0] - (u @ context[:, 0]).real.max())
    return u, e / e.sum()


def attend_backward(dpooled, y, attention):
    """-> dy (T, D H), {name: gradient}; pooled = sum_t weight_t y_t."""
    (kernel, _, context), (u, weights) = attention, attend(y, attention)
    dweights = y @ dpooled
    dscores = weights * (dweights - weights @ dweights)  # softmax
    dz = np.outer(dscores, context[:, 0]) * (1 - u**2)
    gradients = y.T @ dz, dz.sum(axis=0), (u.T @ dscores)[:, None]
    named = {f"attention.{name}": gradient for name, gradient in zip(ATTENTION, gradients, strict=True)}
    return np.outer(weights, dpooled) + dz @ kernel.T, named


def pool_forward(y, h, pooling, attention=()):
    """y (T, D H) and the final h (D, H) -> one vector (D H,)."""
    if pooling == "attention":
        return attend(y, attention)[1] @ y
    if pooling == "last":  # after each direction's OWN last step: step T - 1 forward, step 0 backward
        return h.ravel()
    if pooling == "mean":
        return y.mean(axis=0)
    return y[y.real.argmax(axis=0), np.arange(y.shape[1])]  # "max"; the first of equals


def pool_backward(dpooled, y, h, pooling):
    """-> dy (T, D H), dh (D, H) or None for zeros."""
    dy = np.zeros(y.shape)
    if pooling == "last":
        return dy, dpooled.reshape(h.shape)
    if pooling == "mean":
        return dy + dpooled / len(y), None
    dy[y.real.argmax(axis=0), np.arange(y.shape[1])] = dpooled
    return dy, None


def network_forward(network, x, masks=None):
    """x (T, F) -> output (K,), cache.

    masks, one sequence's dropout: {"conv": [(C,) or None for each convolution], "layers": [see layer_forward],
    "dense": [(D_in,) or None for each dense layer]}.
    """
    masks = masks or {"layers": [None] * len(network.layers), "dense": [None] * len(network.dense)}
    # (0) convolutions
    y, conv_caches = x, []
    for (kernel, bias), mask in zip(network.conv, masks.get("conv", [None] * len(network.conv)), strict=True):
        y, cache = conv_forward(y, _wide(kernel), _wide(bias), 1.0 if mask is None else mask)
        conv_caches.append(cache)
    # (1) recurrent layers
    layer_caches = []
    for layer, layer_masks in zip(network.layers, masks["layers"], strict=True):
        y, (h, _), cache = layer_forward(y, layer, masks=layer_masks, cell=network.cell)
        layer_caches.append(cache)
    # (2) pooling
    attention = [_wide(array) for array in network.attention]
    a = pool_forward(y, h, network.pooling, attention)
    # (3) dense layers: z = (m * a) W + b;  a = relu(z), but z itself after the last
    dense_caches = []
    for k, ((weight, bias), mask) in enumerate(zip(network.dense, masks["dense"], strict=True)):
        mask = 1.0 if mask is None else mask
        z = (mask * a) @ _wide(weight) + _wide(bias)
        slope = np.ones(len(z)) if k == len(network.dense) - 1 else (z.real > 0).astype(float)  # relu'(0) = 0
        dense_caches.append((mask, a, slope))
        a = z * slope
    return a, (network, conv_caches, layer_caches, (y, h, attention), dense_caches)


def network_backward(doutput, cache):
    """doutput (K,) -> gradients {name: array} keyed like Network.parameters, dx (T, F)."""
    network, conv_caches, layer_caches, (y, h, attention), dense_caches = cache
    da, gradients = doutput, {}
    # (3)
    for k in reversed(range(len(network.dense))):
        mask, a, slope = dense_caches[k]
        dz = da * slope
        gradients[f"dense.{k}.weight"] = np.outer(mask * a, dz)
        gradients[f"dense.{k}.bias"] = dz
        da = mask * (_wide(network.dense[k][0]) @ dz)
    # (2)
    if network.pooling == "attention":
        (dy, of_attention), dh = attend_backward(da, y, attention), None
        gradients |= of_attention
    else:
        dy, dh = pool_backward(da, y, h, network.pooling)
    # (1)
    names = PARAMETERS[network.cell.kind]
    for k in reversed(range(len(network.layers))):
        dy, by_direction, _, _ = layer_backward(dy, dh, None, layer_caches[k])
        for direction, arrays in by_direction.items():
            gradients |= {f"layers.{k}.{direction}.{name}": a for name, a in zip(names, arrays, strict=True)}
        dh = None  # the layers below pass on their y; only the top layer's final h can be pooled
    # (0)
    for k in reversed(range(len(network.conv))):
        dy, dkernel, dbias = conv_backward(dy, conv_caches[k])
        gradients |= {f"conv.{k}.kernel": dkernel, f"conv.{k}.bias": dbias}
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
def load_golden(file_name="torch_lstm.npz"):
    """A dict a case (golden/README.md): NAME/layers/0/forward/kernel is case["layers"][0]["forward"]["kernel"]."""
    cases = {}
    with np.load(Path(__file__).parent / "golden" / file_name) as data:
        for key in data.files:
            name, *folders, leaf = key.split("/")
            node = cases.setdefault(name, {"name": name})
            for folder in folders:
                node = node.setdefault(folder, {})
            node[leaf] = data[key]
    for case in cases.values():
        case["cell"] = Cell(**{name: array.item() for name, array in case.get("cell", {}).items()})
        case["layers"] = [case["layers"][str(k)] for k in range(len(case["layers"]))]
    return list(cases.values())
