"""What `verbose` shows while fitting: 0 nothing, 1 a bar, 2 or more a line an epoch."""

from contextlib import contextmanager


@contextmanager
def progress_reporter(verbose, n_epochs):
    """Yields a function (history, learning_rate) to call after each epoch."""
    if verbose == 1:
        from tqdm.auto import tqdm

        with tqdm(total=n_epochs, unit="epoch") as bar:

            def advance(history, learning_rate):
                bar.set_postfix(_figures(history), refresh=False)  # update draws, at most ten times a second
                bar.update()

            yield advance
    elif verbose:

        def print_line(history, learning_rate):
            figures = ", ".join(f"{name} {value}" for name, value in _figures(history).items())
            print(
                f"epoch {len(history.loss_curve)}/{n_epochs}: {figures}, learning rate {learning_rate:.2g}", flush=True
            )

        yield print_line
    else:
        yield lambda history, learning_rate: None


def _figures(history):
    figures = {"loss": f"{history.loss_curve[-1]:.4g}"}
    if history.validation_scores:
        figures["validation"] = f"{history.validation_scores[-1]:.4g}"
    return figures
