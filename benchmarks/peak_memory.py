"""Peak memory of the process in fit and predict: interpreter, imports and data included."""

from lstmfast import LSTMClassifier

from .sequences import labelled_sequences


class PeakMemory:
    """A classifier with H units on n sequences of T steps with F features."""

    param_names = ["(n, T, F, H)"]
    params = [[(1, 100, 16, 32), (1000, 100, 16, 64), (10000, 100, 16, 64), (1000, 100, 64, 256)]]

    def setup(self, shape):
        n, steps, features, units = shape
        self.X, self.y = labelled_sequences(max(n, 2), steps, features)
        self.model = LSTMClassifier(units, max_iter=1, batch_size=64, random_state=0)


class PeakMemoryFit(PeakMemory):
    def peakmem_fit(self, shape):
        self.model.fit(self.X, self.y)


class PeakMemoryPredict(PeakMemory):
    def setup(self, shape):
        super().setup(shape)
        self.model.fit(self.X[:20, :2], self.y[:20])

    def peakmem_predict(self, shape):
        self.model.predict(self.X)
