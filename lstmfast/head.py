"""Dense layers on top of the recurrent ones, and the loss of their outputs."""

import copy

import numpy as np

from .layers import Dense, OutputEmbedding
from .layers.initializers import BLANK
from .layers.parameters import check_size
from .losses import softmax_losses
from .outputs import check_outputs
from .sampling import LogUniformSampler

# A loss is computed in blocks of rows with about this many outputs, which then stay in the cache from the product to
# the gradient, and bound the memory of a large vocabulary. Fewer than MIN_ROWS would read the weights too often.
BLOCK_OUTPUTS = 1 << 18
MIN_ROWS = 256


class Head:
    """Dense layers with relu between them; the last one is linear.

    Parameters
    ----------
    input_size : int
    sizes : tuple of int
        Outputs of each layer.
    dtype : dtype
    first_number : int
        Their names in files are this number and those after it.
    n_samples : int or None, default=None
        Not None: the last layer is an OutputEmbedding, and the loss, a `losses.SampledSoftmax`, samples its outputs.
    """

    def __init__(self, input_size, sizes, dtype, first_number, n_samples=None):
        self.layers, self._first_number = [], first_number
        self.sampler = None if n_samples is None else LogUniformSampler(sizes[-1], n_samples)
        for i, size in enumerate(sizes):
            kind = OutputEmbedding if self.sampler is not None and i == len(sizes) - 1 else Dense
            self.layers.append(kind(input_size, size, dtype=dtype, random_state=BLANK))
            input_size = size

    @staticmethod
    def count_parameters(input_size, sizes):
        """Number of parameters of such a head, without building it."""
        total = 0
        for size in sizes:
            total += check_size(size, "each of dense_layer_sizes") * (input_size + 1)
            input_size = size
        return total

    def parts(self):
        """Its layers, as `FlatParameters` names them."""
        return {str(number): layer for number, layer in enumerate(self.layers, self._first_number)}

    def forward(self, z, masks=None, n_threads=1, hidden=False, workspace=None):
        """(outputs, what each layer saw) for z (n, input_size); with hidden, what the last layer would see.

        masks : for each layer None or (n, inputs)
        workspace : where the outputs of all layers stand, if given
        """
        seen = []
        for i, layer in enumerate(self.layers):
            if i > 0:
                np.maximum(z, 0, out=z)
            if hidden and i == len(self.layers) - 1:
                break
            if masks and masks[i] is not None:
                z = z * masks[i]
            seen.append(z)
            shape = len(z), layer.output_size
            z = layer.forward(z, n_threads, workspace and workspace.take(("head", i), shape, z.dtype))
        return z, seen

    def predict(self, z, n_threads=1, hidden=False):
        """As `forward`: outputs that are answers. NotFiniteError if they are none."""
        outputs, _ = self.forward(z, n_threads=n_threads, hidden=hidden)
        check_outputs(outputs)
        return outputs

    def backward(self, seen, dz, masks=None, n_threads=1, out=None):
        """Gradient of z, written to `out` if given; those of the parameters are added to what is there."""
        for i in reversed(range(len(self.layers))):
            dz = self.layers[i].backward(seen[i], dz, n_threads, out if i == 0 else None)
            if masks and masks[i] is not None:
                dz *= masks[i]
            if i > 0:
                dz[seen[i] <= 0] = 0
        return dz

    def _sampled(self, targets, rng):
        """This head with few outputs, and where the targets stand among them."""
        rows, places, log_probabilities = self.sampler.candidates(targets, rng)
        head = copy.copy(self)
        head.layers = [*self.layers[:-1], self.layers[-1].candidates(rows, -log_probabilities)]
        return head, places

    def loss_and_gradient(self, z, loss, targets, weights, masks, mask_rows, workspace, n_threads=1):
        """Loss of the outputs for z, and its gradient at z; those of the parameters are added to what is there.

        Parameters
        ----------
        z : ndarray of shape (n, input_size)
        loss : object of `lstmfast.losses`
        targets, weights : ndarrays of shape (n, ...) and (n,)
        masks : list of ndarray or None
            For each layer, a row for each sequence.
        mask_rows : ndarray of int of shape (n,)
            The sequence that each row of z belongs to.
        workspace : Workspace

        Returns
        -------
        value : float
        dz : ndarray of shape (n, input_size)
            It belongs to the workspace.
        """
        value, dz = 0.0, workspace.take(("head", "dz"), z.shape, z.dtype)
        for block in self._blocks(len(z)):
            block_masks = [None if mask is None else mask[mask_rows[block]] for mask in masks]
            head, labels = self, targets[block]
            if self.sampler is not None:
                head, labels = self._sampled(labels, loss.rng)
            outputs, seen = head.forward(z[block], block_masks, n_threads, workspace=workspace)
            part, gradient = loss.value_and_gradient(outputs, labels, weights[block], n_threads)
            head.backward(seen, gradient, block_masks, n_threads, out=dz[block])
            value += part
        return value, dz

    def log_likelihoods(self, z, targets, n_threads=1):
        """Logarithm of softmax(outputs)[target] (n,) for z (n, input_size) and targets (n,)."""
        result = np.empty(len(z), z.dtype)
        for block in self._blocks(len(z)):
            outputs = self.predict(z[block], n_threads)
            result[block] = -softmax_losses(outputs, targets[block], n_threads=n_threads)
        return result

    def best(self, z, n_threads=1):
        """Number of the largest output (n,) for z (n, input_size)."""
        result = np.empty(len(z), np.int64)
        for block in self._blocks(len(z)):
            result[block] = self.predict(z[block], n_threads).argmax(axis=1)
        return result

    def _blocks(self, n_rows):
        size = max(MIN_ROWS, BLOCK_OUTPUTS // self.layers[-1].output_size)
        return (slice(start, start + size) for start in range(0, n_rows, size))
