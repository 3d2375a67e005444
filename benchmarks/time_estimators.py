"""Time of fit and predict."""

import os
import tempfile

from lstmfast import LSTMClassifier

from .sequences import labelled_sequences

THREADS_AND_DTYPES = [[1, 2], ["float32", "float64"]]


class TimeFit:
    """Three epochs of a classifier on n sequences of T steps with F features, H units."""

    param_names = ["(n, T, F, H)", "ragged", "threads", "dtype"]
    params = [
        [(100, 20, 4, 32), (256, 50, 8, 32), (256, 100, 16, 64), (128, 100, 64, 256)], [False, True],
        *THREADS_AND_DTYPES,
    ]  # fmt: skip

    def setup(self, shape, ragged, threads, dtype):
        n, steps, features, units = shape
        self.X, self.y = labelled_sequences(n, steps, features, dtype, ragged)
        self.model = LSTMClassifier(units, max_iter=3, n_jobs=threads, dtype=dtype, random_state=0)

    def time_fit(self, shape, ragged, threads, dtype):
        self.model.fit(self.X, self.y)


class TimePredict:
    """Labels of n sequences of T steps with F features, H units; of one sequence too, where overhead counts most."""

    param_names = ["(n, T, F, H)", "ragged", "threads", "dtype"]
    params = [[(1, 100, 16, 32), (256, 100, 16, 64), (1024, 50, 64, 128)], [False, True], *THREADS_AND_DTYPES]

    def setup(self, shape, ragged, threads, dtype):
        n, steps, features, units = shape
        X, y = labelled_sequences(20, 2, features, dtype)
        self.model = LSTMClassifier(units, max_iter=1, n_jobs=threads, dtype=dtype, random_state=0).fit(X, y)
        self.X, _ = labelled_sequences(n, steps, features, dtype, ragged)

    def time_predict(self, shape, ragged, threads, dtype):
        self.model.predict(self.X)


class TimeFrozenLayers:
    """Three epochs of two recurrent layers behind a convolution, of which the lowest layers are frozen."""

    param_names = ["frozen layers", "threads"]
    params = [[0, 1, 2, 3], [1, 2]]

    def setup(self, n_frozen, threads):
        self.X, self.y = labelled_sequences(256, 100, 16, "float32")
        self.model = LSTMClassifier(
            (64, 64), conv_layers=((32, 5),), n_frozen_layers=n_frozen, max_iter=3, n_jobs=threads, random_state=0
        )

    def time_fit(self, n_frozen, threads):
        self.model.fit(self.X, self.y)


class TimeCheckpoint:
    """Three epochs of a classifier of H units, kept after each or not: the cost of a file an epoch."""

    param_names = ["(n, T, F, H)", "checkpoint"]
    params = [[(256, 100, 16, 64), (1024, 50, 32, 512)], [False, True]]

    def setup(self, shape, checkpoint):
        n, steps, features, units = shape
        self.X, self.y = labelled_sequences(n, steps, features, "float32")
        self.model = LSTMClassifier(units, max_iter=3, n_jobs=1, random_state=0)
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "fit") if checkpoint else None

    def teardown(self, shape, checkpoint):
        self.folder.cleanup()

    def time_fit(self, shape, checkpoint):
        self.model.fit(self.X, self.y, checkpoint=self.path)
