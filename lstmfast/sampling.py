"""Which of many outputs stand in for all of them in a sampled softmax."""

import numpy as np

from .layers.parameters import check_size


class LogUniformSampler:
    """Draws outputs with probabilities that fall like their frequencies, and knows how probable each was to be drawn.

    Output k, in the order of falling frequency (as a Vocabulary numbers its tokens), has the share

        p[k] = log((k + 2) / (k + 1)) / log(n_outputs + 1)

    of the log-uniform, approximately Zipfian distribution of TensorFlow's ``log_uniform_candidate_sampler``. Words and
    items follow Zipf's law about so. An estimate of a sum has the least variance where each term is drawn in proportion
    to it, and the terms e^logit of a trained network are large for frequent outputs: hence not uniform.

    The n_samples draws are stratified: outputs lie one after another on a line, each with a length in proportion to its
    share, and one point is drawn in each of n_samples equal parts of the line. An output that would get more than a
    part gets just one, the rest of the line is shared out among the others: it is in every sample. So the probability
    that an output is drawn is known exactly, unlike that of drawing until n_samples different ones are found, and with
    n_samples >= n_outputs it is 1 for each. An output that lies across two parts may be drawn twice and counts once.

    Parameters
    ----------
    n_outputs, n_samples : int

    Attributes
    ----------
    log_probabilities : ndarray of shape (n_outputs,)
        Logarithm of the probability that an output is among those drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast.sampling import LogUniformSampler
    >>> sampler = LogUniformSampler(1000, 50)
    >>> np.exp(sampler.log_probabilities[[0, 10, 100, 999]]).round(3)
    array([1.   , 0.656, 0.088, 0.009])
    >>> drawn = sampler.draw(np.random.default_rng(0))
    >>> len(drawn), drawn[:12]
    (48, array([ 0,  1,  2,  3,  4,  5,  6,  7,  8, 10, 11, 14]))
    """

    def __init__(self, n_outputs, n_samples):
        self.n_samples = min(check_size(n_samples, "n_samples"), check_size(n_outputs, "n_outputs"))
        n, k = self.n_samples, np.arange(n_outputs)
        # The first outputs are certain as long as each would get more than its part of what the ones before it left.
        share, share_left = np.log1p(1 / (k + 1)), np.log((n_outputs + 1) / (k + 1))
        certain = np.count_nonzero((n - k) * share > share_left)
        # Where each output ends on the line, in parts: the shares' sum has a closed form.
        self._ends = k + 1.0
        rest = k[certain:]
        whole = np.log((n_outputs + 1) / (certain + 1))
        self._ends[certain:] = certain + (n - certain) * (np.log((rest + 2) / (certain + 1)) / whole)
        length = np.diff(self._ends, prepend=0.0)
        in_first = np.clip(np.floor(self._ends) - (self._ends - length), 0, length)  # if it lies across two parts
        self.log_probabilities = np.log(length - in_first * (length - in_first))

    def draw(self, rng):
        """At most n_samples different outputs, ascending, from a numpy Generator."""
        points = np.arange(self.n_samples) + rng.random(self.n_samples)
        # Without the last end: a point may round up to it.
        return np.unique(np.searchsorted(self._ends[:-1], points, side="right"))

    def candidates(self, targets, rng):
        """The targets and a sample: what a sampled softmax runs over.

        Parameters
        ----------
        targets : ndarray of int of shape (n,)
        rng : numpy.random.Generator

        Returns
        -------
        rows : ndarray of int of shape (n_candidates,)
            Different outputs, ascending.
        places : ndarray of int of shape (n,)
            Where each target stands among them.
        log_probabilities : ndarray of shape (n_candidates,)
            Logarithm of the probability that a candidate is one; 0 for targets, which always are.
        """
        rows, places = np.unique(np.concatenate((targets, self.draw(rng))), return_inverse=True)
        places = places[: len(targets)]
        log_probabilities = self.log_probabilities[rows]
        log_probabilities[places] = 0
        return rows, places, log_probabilities
