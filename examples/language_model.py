"""
Write like the Python manual
============================

`LSTMLanguageModel` reads the reference that Python's ``help()`` shows, character by character, and learns which
character comes next. Then it writes on: at a low temperature what is most probable, at a high one what is rare. It is
judged by texts that it has not seen: the perplexity says among how many equally probable characters it hesitates, and
its logarithm to base 2 is how many bits an ideal compressor would need for a character. Two baselines: how frequent
each character is, and an interpolated n-gram model, which looks at the last few characters::

    pip install "lstmfast[examples]"
    python examples/language_model.py

The text is part of Python (`pydoc_data.topics`) and differs a little from version to version. Some sections have
paragraphs in common: each is kept once. Every tenth section is for the test. Over three seeds the perplexity was 4.55
(`python -m benchmarks.accuracy.language_model`).
"""

import argparse
import math
import textwrap
import time
from collections import Counter, defaultdict

import numpy as np

SETTINGS = {
    "hidden_layer_sizes": (128,), "level": "char", "bptt": 64, "embedding_dim": 32, "batch_size": 16, "max_iter": 15,
    "learning_rate": "cosine", "learning_rate_init": 5e-3, "alpha": 0.0,
}  # fmt: skip
ORDER = 5  # of the n-gram model
TEMPERATURES = 0.3, 0.7, 1.0


def load():
    """All sections of the reference to learn from, and all to test on: train, test, each one long text in a list."""
    from pydoc_data.topics import topics

    sections, known = [], set()
    for name in sorted(topics):
        paragraphs = topics[name].rstrip().split("\n\n")
        sections.append("\n\n".join(paragraph for paragraph in paragraphs if paragraph not in known) + "\n")
        known.update(paragraphs)
    test = sections[::10]
    train = [section for i, section in enumerate(sections) if i % 10]
    return ["\n\n".join(train)], ["\n\n".join(test)]


class NGrams:
    """Interpolated n-gram model of characters.

    After a context h that was seen N times, followed by D different characters, and whose last characters make the
    context h'::

        P(c | h) = (count(h c) + D P(c | h')) / (N + D)

    the smoothing of Witten & Bell, IEEE Transactions on Information Theory 37, 1991, in the form of Chen & Goodman,
    Computer Speech and Language 13, 1999. Below the empty context all characters are equally probable, one that stands
    for all unknown ones among them.
    """

    END = "\0"

    def __init__(self, order):
        self.order = order

    def fit(self, texts):
        """Count."""
        self.counts = [defaultdict(Counter) for _ in range(self.order)]
        for text in texts:
            for i, character in enumerate(text + self.END):
                for n in range(min(self.order, i + 1)):
                    self.counts[n][text[i - n : i]][character] += 1
        self.totals = [{h: sum(counts.values()) for h, counts in by_context.items()} for by_context in self.counts]
        self.n_characters = len(self.counts[0][""]) + 1
        return self

    def probability(self, context, character):
        """Probability of a character after a context of at most order - 1."""
        p = 1 / self.n_characters
        for n in range(len(context) + 1):
            h = context[len(context) - n :]
            if h not in self.totals[n]:
                break
            counts, total = self.counts[n][h], self.totals[n][h]
            p = (counts[character] + len(counts) * p) / (total + len(counts))
        return p

    def score(self, texts):
        """Mean log-likelihood of a character in nats; the end of a text counts as one."""
        logarithms = [
            math.log(self.probability(text[max(0, i - self.order + 1) : i], character))
            for text in texts
            for i, character in enumerate(text + self.END)
        ]
        return sum(logarithms) / len(logarithms)


def main():
    """Train, score beside the baselines, write, draw."""
    from lstmfast import LSTMLanguageModel

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plot", default="language_model.png", help="where the picture goes")
    arguments = parser.parse_args()

    train, test = load()
    print(f"{sum(map(len, train))} characters to learn from, {sum(map(len, test))} to test on.")
    model = LSTMLanguageModel(**SETTINGS, random_state=0)
    started = time.perf_counter()
    model.fit(train)
    print(f"Trained in {time.perf_counter() - started:.1f} s.")
    scores = {
        "LSTM": model.score(test), f"{ORDER}-grams": NGrams(ORDER).fit(train).score(test),
        "frequencies": NGrams(1).fit(train).score(test),
    }  # fmt: skip
    for name, score in scores.items():
        print(f"{name}: perplexity {math.exp(-score):.2f}, {-score / math.log(2):.2f} bits a character")

    prompt = "The "
    written = {
        temperature: model.generate(prompt, max_length=1000, temperature=temperature, random_state=0)
        for temperature in TEMPERATURES
    }
    for temperature, text in written.items():
        print(f"\nTemperature {temperature}:\n{text}")

    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (curve, *pages) = plt.subplots(1, 1 + len(written), figsize=(16, 5), layout="constrained")
    curve.plot(np.arange(1, len(model.loss_curve_) + 1), np.array(model.loss_curve_) / math.log(2))
    for name, score in scores.items():
        curve.axhline(-score / math.log(2), color="C1" if name == "LSTM" else "gray", linewidth=1)
        side = "top" if name == "LSTM" else "bottom"
        curve.annotate(f"{name}, test", (len(model.loss_curve_), -score / math.log(2)), ha="right", va=side, fontsize=8)
    curve.set(title="The Python reference", xlabel="epoch", ylabel="bits a character")
    for axes, (temperature, text) in zip(pages, written.items(), strict=True):
        lines = [part for line in text.splitlines() for part in textwrap.wrap(line, 46, drop_whitespace=False) or [""]]
        axes.text(0, 1, "\n".join(lines[:30]), va="top", family="monospace", fontsize=8, parse_math=False)
        axes.set_title(f"temperature {temperature}")
        axes.axis("off")
    figure.savefig(arguments.plot, dpi=120)
    print(f"\nPicture: {arguments.plot}")


if __name__ == "__main__":
    main()
