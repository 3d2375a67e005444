"""What `verbose` shows while fitting: 0 nothing, 1 a bar, 2 or more a line an epoch."""

from contextlib import contextmanager


@contextmanager
def progress_reporter(verbose, n_epochs, n_batches, n_done=0):
    """Yields a `Progress` of n_epochs of about n_batches each, n_done of which are done."""
    if verbose == 1:
        with _Bar(n_epochs, n_batches, n_done) as bar:
            yield bar
    elif verbose:
        yield _Lines(n_epochs)
    else:
        yield Progress()


class Progress:
    """Is told of each batch and each epoch; this one says nothing."""

    def batch(self):
        """A batch is done."""

    def epoch(self, history, learning_rate):
        """An epoch is done."""


class _Lines(Progress):
    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def epoch(self, history, learning_rate):
        figures = ", ".join(f"{name} {value}" for name, value in _figures(history).items())
        number = len(history.loss_curve)
        print(f"epoch {number}/{self.n_epochs}: {figures}, learning rate {learning_rate:.2g}", flush=True)


class _Bar(Progress):
    """tqdm's bar. It moves within epochs too, which may take minutes; tqdm redraws it at most ten times a second."""

    def __init__(self, n_epochs, n_batches, n_done):
        from tqdm.auto import tqdm

        # Epochs as floats: how many batches an epoch has is not always known before.
        layout = "{l_bar}{bar}| {n:.1f}/{total} epochs [{elapsed}<{remaining}{postfix}]"
        self.bar = tqdm(total=n_epochs, initial=n_done, unit="epoch", bar_format=layout)
        self.n_batches, self.done = n_batches, n_done

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()

    def batch(self):
        ahead = 1 - 1e-9 - (self.bar.n - self.done)  # never into the next epoch
        self.bar.update(min(1 / self.n_batches, max(ahead, 0)))

    def epoch(self, history, learning_rate):
        self.done += 1
        self.bar.set_postfix(_figures(history), refresh=False)
        self.bar.update(self.done - self.bar.n)


def _figures(history):
    figures = {"loss": f"{history.loss_curve[-1]:.4g}"}
    if history.validation_scores:
        figures["validation"] = f"{history.validation_scores[-1]:.4g}"
    return figures
