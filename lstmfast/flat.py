"""The parameters of all layers of a network in one flat array."""

import math

import numpy as np


class FlatParameters:
    """What every network is to its optimiser: one array of parameters, and one of their gradients.

    Each layer's parameters are views of the flat array: weights first, then biases, then tables, whose gradient comes
    by rows, and last what is frozen. So the optimiser is one pass, the norm one sum and the penalty one prefix, and
    none of them comes near a frozen layer.

    A subclass sets `config`, the arguments of its constructor, and calls `_flatten`.

    Attributes
    ----------
    parts : dict of str to Trainable
        Every layer that has parameters, by the name it has in files.
    parameters : ndarray of shape (n_parameters,)
        The first `n_penalised` are weights, up to `n_dense` biases, up to `n_trained` tables, the rest frozen.
    gradients : ndarray of shape (n_dense,)
        Of the dense ones; the tables keep their own, and what is frozen has none.
    tables : list of Trainable
        Layers of `layers.table`, whose gradient is `rows` and `row_grads`.
    """

    def _flatten(self, parts, frozen=()):
        """Bind every parameter to its place in one flat array; `frozen` are the names of parts that are not trained."""
        self.parts = parts
        trained = [part for name, part in parts.items() if name not in frozen]
        self.tables = [part for part in trained if part.by_rows]
        dense = [(part, name) for part in trained if not part.by_rows for name in part.shapes]
        weights = [piece for piece in dense if not piece[1].endswith("bias")]
        biases = [piece for piece in dense if piece[1].endswith("bias")]

        def size(pieces):
            return sum(math.prod(part.shapes[name]) for part, name in pieces)

        self.n_penalised, self.n_dense = size(weights), size(dense)
        tables = [(table, "weight") for table in self.tables]
        still = [(parts[name], shape) for name in parts if name in frozen for shape in parts[name].shapes]
        self.n_trained = self.n_dense + size(tables)
        self.parameters = np.zeros(self.n_trained + size(still), self.dtype)
        self.gradients = np.zeros(self.n_dense, self.dtype)
        self._places, start = {}, 0
        for part, name in weights + biases + tables + still:
            self._places[id(part), name] = slice(start, start := start + math.prod(part.shapes[name]))
        for part in parts.values():
            has_gradient = part in trained and not part.by_rows
            grads = {name: self._view(self.gradients, part, name) for name in part.shapes} if has_gradient else {}
            part.bind({name: self._view(self.parameters, part, name) for name in part.shapes}, grads)

    def _view(self, flat, part, name):
        return flat[self._places[id(part), name]].reshape(part.shapes[name])

    def rows_of(self, table, flat):
        """A table's part of an array like `parameters`, as a matrix."""
        return self._view(flat, table, "weight")

    @property
    def float64(self):
        return self.dtype == np.float64

    def named_parameters(self, flat=None):
        """Views of the parameters, by names such as "0.kernel", "0.backward.bias", "embedding.weight"; or of an array
        like `parameters`."""
        flat = self.parameters if flat is None else flat
        pieces = [(part, layer, name) for part, layer in self.parts.items() for name in layer.arrays]
        return {f"{part}.{name}": self._view(flat, layer, name) for part, layer, name in pieces}

    def initialize(self, rng):
        """Draw new parameters from a numpy Generator."""
        for part in self.parts.values():
            part.initialize(rng)

    def forget_gradients(self):
        """All gradients become 0."""
        self.gradients[...] = 0
        for table in self.tables:
            table.forget_gradient()

    def parameters_changed(self):
        """To be called after the flat array was written to."""
        for part in self.parts.values():
            part.forget_packed()

    def copy(self, **changes):
        """A network of its own with these weights; changes of `config` may be its dtype and n_frozen_layers."""
        network = type(self)(**self.config | changes)
        own = self.named_parameters()
        for name, array in network.named_parameters().items():
            array[...] = own[name]
        return network

    def __getstate__(self):
        return {"config": self.config, "parameters": self.parameters}

    def __setstate__(self, state):
        self.__init__(**state["config"])
        if state["parameters"].shape != self.parameters.shape:
            raise ValueError(f"{len(state['parameters'])} parameters do not fit a network of {len(self.parameters)}")
        if not np.isfinite(state["parameters"]).all():
            raise ValueError("parameters must be finite")
        self.parameters[...] = state["parameters"]
