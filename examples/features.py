"""
Features without labels
=======================

Nine men say two Japanese vowels (see japanese_vowels.py). `LSTMTransformer` is given the 270 utterances of the training
set without their speakers, and learns to write each again from 32 numbers. Then three utterances of each speaker get a
label, and a logistic regression learns from their 32 numbers to tell the speaker of the 370 test utterances. Beside it,
on the same labels: the same regression on other features, none of which know the labels either, and an `LSTMClassifier`
that sees the labelled utterances alone. The data come with aeon, matplotlib draws the map::

    pip install "lstmfast[examples]"
    python examples/features.py

The settings were chosen on the training set. The map is a t-SNE of the training utterances, drawn without labels and
coloured by speaker.
"""

import argparse
import time

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lstmfast import LSTMClassifier, LSTMTransformer, SequenceScaler

N_LABELS = 3  # of each speaker
RECURRENT = {
    "hidden_layer_sizes": (64,), "bidirectional": True, "pooling": "mean", "max_iter": 100, "learning_rate": "cosine",
    "learning_rate_init": 5e-3,
}  # fmt: skip


def load(split):
    """Utterances as (steps, 12) arrays of their own lengths, and speakers."""
    from aeon.datasets import load_japanese_vowels

    utterances, speakers = load_japanese_vowels(split=split)
    return [np.ascontiguousarray(utterance.T) for utterance in utterances], speakers


def summaries(X):
    """Mean and standard deviation of each coefficient (n, 24)."""
    return np.array([np.concatenate((x.mean(axis=0), x.std(axis=0))) for x in X])


def padded(X, n_steps=29):
    """All values of an utterance, zeros behind its end (n, n_steps * 12)."""
    return np.array([np.pad(x[:n_steps], ((0, max(0, n_steps - len(x))), (0, 0))).ravel() for x in X])


def labelled(speakers, seed):
    """Indices of N_LABELS utterances of each speaker, drawn at random."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.choice(np.flatnonzero(speakers == speaker), N_LABELS, replace=False) for speaker in np.unique(speakers)]
    )


def accuracies(X_train, y_train, X_test, y_test, seed):
    """Test accuracy by the kind of features, and the fitted autoencoder."""
    autoencoder = LSTMTransformer(**RECURRENT, dense_layer_sizes=32, random_state=seed).fit(X_train)
    features = {
        "LSTM autoencoder, 32": autoencoder,
        "mean and standard deviation, 24": FunctionTransformer(summaries),
        "PCA of padded sequences, 24": make_pipeline(FunctionTransformer(padded), PCA(24)).fit(X_train),
    }
    chosen, result = labelled(y_train, seed), {}
    few, speakers = [X_train[i] for i in chosen], y_train[chosen]
    for name, transformer in features.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(transformer.transform(few), speakers)
        result[f"logistic regression on {name} features"] = model.score(transformer.transform(X_test), y_test)
    alone = LSTMClassifier(**RECURRENT, dropout=0.3, random_state=seed).fit(few, speakers)
    result["LSTMClassifier on the labelled ones alone"] = alone.score(X_test, y_test)
    return result, autoencoder


def draw(maps, speakers, path):
    """One panel a map, a colour a speaker."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(maps), figsize=(10, 5), layout="constrained")
    for axes, (name, features) in zip(panels, maps.items(), strict=True):
        places = TSNE(random_state=0).fit_transform(StandardScaler().fit_transform(features))
        for number, speaker in enumerate(np.unique(speakers)):
            axes.scatter(*places[speakers == speaker].T, s=14, color=f"C{number}", label=f"speaker {speaker}")
        axes.set(title=name, xticks=[], yticks=[])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=120)


def main():
    """Learn features from several seeds, score them, draw the first."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="features.png", help="where the map goes")
    parser.add_argument("--seeds", type=int, default=10, help="how many networks, each with labels of its own")
    arguments = parser.parse_args()

    X_train, y_train = load("train")
    X_test, y_test = load("test")
    scaler = SequenceScaler()
    X_train, X_test = scaler.fit_transform(X_train), scaler.transform(X_test)
    started = time.perf_counter()
    runs = [accuracies(X_train, y_train, X_test, y_test, seed) for seed in range(arguments.seeds)]
    print(f"{arguments.seeds} autoencoders and classifiers in {time.perf_counter() - started:.0f} s.")
    print(f"Test accuracy with {N_LABELS} labels a speaker, mean (standard deviation) of {arguments.seeds}:")
    for name in runs[0][0]:
        values = [result[name] for result, _ in runs]
        print(f"{np.mean(values):7.1%} ({np.std(values):.1%}) {name}")

    maps = {
        "codes of the autoencoder": runs[0][1].transform(X_train),
        "mean and standard deviation": summaries(X_train),
    }
    draw(maps, y_train, arguments.plot)
    print(f"Map: {arguments.plot}")


if __name__ == "__main__":
    main()
