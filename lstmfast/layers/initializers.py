"""Initial weights."""

import numpy as np

# As the random_state of a layer: leave its parameters 0, somebody is about to set them. Drawing an orthogonal matrix
# takes a tenth of a second at 512 units.
BLANK = object()


def glorot_uniform(rng, shape, fans=None):
    """Uniform in +-sqrt(6 / (inputs + outputs)) (Glorot & Bengio 2010); `fans` are these two where not the shape."""
    limit = np.sqrt(6 / sum(fans or shape))
    return rng.uniform(-limit, limit, shape)


def orthogonal(rng, shape):
    """Orthonormal rows or columns, whichever are fewer (Saxe, McClelland & Ganguli 2014).

    From the QR decomposition of a normal matrix, signs chosen so that the distribution is uniform (Mezzadri 2007).
    """
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.sign(np.diag(r))
    return q if shape[0] >= shape[1] else q.T
