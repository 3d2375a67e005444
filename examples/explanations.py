"""
Why this digit? What each pixel adds to the answer
==================================================

Images of 8 by 8 pixels, which come with scikit-learn, are read row by row: 8 steps of 8 features. `explain` tells how
much each pixel adds to the score of the digit that is recognised, by integrated gradients or by occlusion. Are these
the pixels that matter? They are wiped out, those with the largest numbers first, and the model is asked again. The
baseline wipes as many pixels with ink at random::

    pip install "lstmfast[examples]"
    python examples/explanations.py

Half of the images is for the test.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lstmfast import LSTMClassifier

SETTINGS = {
    "hidden_layer_sizes": (64,), "bidirectional": True, "dropout": 0.2, "max_iter": 40, "learning_rate": "cosine",
    "learning_rate_init": 5e-3,
}  # fmt: skip
N_WIPED = range(0, 13, 2)
N_DRAWS = 10


def wiped(images, ranking, n):
    """The images without the n pixels of each that a ranking (n_images, 8, 8) puts first."""
    result = images.reshape(len(images), -1).copy()
    first = np.argsort(-ranking.reshape(result.shape), axis=1, kind="stable")[:, :n]
    np.put_along_axis(result, first, 0, axis=1)
    return result.reshape(images.shape)


def accuracies(model, images, labels, ranking):
    """Accuracy after each number of pixels in `N_WIPED`."""
    return np.array([model.score(wiped(images, ranking, n), labels) for n in N_WIPED])


def draw(path, images, attributions, predicted, curves):
    """Some digits with what their pixels add, and the accuracy as pixels go."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(10, 3.3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
    axes = left.subplots(2, 6)
    limit = np.abs(attributions[:6]).max()
    for k in range(6):
        axes[0, k].imshow(images[k], cmap="gray_r")
        axes[0, k].set_title(f"is {predicted[k]}")
        shown = axes[1, k].imshow(attributions[k], cmap="RdBu_r", vmin=-limit, vmax=limit)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])
    left.colorbar(shown, ax=axes, location="bottom", shrink=0.6, label="what a pixel adds to the digit's score")
    axis = right.subplots()
    for (name, curve), style in zip(curves.items(), ("o-", "s-", "k--"), strict=True):
        axis.plot(N_WIPED, curve, style, label=name)
    axis.set(xlabel="pixels wiped out", ylabel="test accuracy", ylim=(0, 1.02))
    axis.legend(title="largest first", loc="center right")
    figure.savefig(path, dpi=120)


def main():
    """Train, explain, wipe out, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="explanations.png", help="where the picture goes")
    arguments = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    X_train, X_test, y_train, y_test = train_test_split(images, labels, test_size=0.5, random_state=0)
    model = LSTMClassifier(**SETTINGS, random_state=0).fit(X_train, y_train)
    print(f"Test accuracy: {model.score(X_test, y_test):.1%} of {len(X_test)} images.")

    curves, found = {}, {}
    for method in ("integrated_gradients", "occlusion"):
        started = time.perf_counter()
        found[method] = model.explain(X_test, method)
        print(f"{method}: {time.perf_counter() - started:.1f} s")
        curves[method.replace("_", " ")] = accuracies(model, X_test, y_test, found[method])
    rng = np.random.default_rng(0)
    at_random = [np.where(X_test > 0, rng.random(X_test.shape), -1) for _ in range(N_DRAWS)]
    curves["ink at random"] = np.mean([accuracies(model, X_test, y_test, ranking) for ranking in at_random], axis=0)
    for name, curve in curves.items():
        wiped_out = ", ".join(f"{n}: {accuracy:.1%}" for n, accuracy in zip(N_WIPED, curve, strict=True))
        print(f"Accuracy without so many pixels, {name}: {wiped_out}")

    draw(arguments.plot, X_test, found["integrated_gradients"], model.predict(X_test), curves)
    print(f"Picture: {arguments.plot}")


if __name__ == "__main__":
    main()
