"""What the displays draw with: matplotlib when it is needed, colours, axes, tokens as coloured text."""

import numpy as np

# Okabe & Ito, "Color universal design", 2008.
PALETTE = BLUE, VERMILION, *_ = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
BLACK, GREY, NO_VALUE = "#222222", "#999999", "#E0E0E0"
SEQUENTIAL, DIVERGING = "Blues", "RdBu_r"

_CHARACTER_WIDTH = 0.602  # of DejaVu Sans Mono, in units of the font size
_FONT_SIZES = 5.0, 11.0


def pyplot():
    """matplotlib.pyplot; an ImportError that says how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('Plots need matplotlib: pip install "lstmfast[plot]"') from error
    return plt


def axes_for(n, ax, *, size, n_columns=1, layout="constrained"):
    """1-D array of n axes: those given, or of a new figure in which each has about `size` (width, height) inches."""
    plt = pyplot()
    if ax is not None:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(axes) != n:
            raise ValueError(f"ax must be {n} axes, one for each of what is shown, got {len(axes)}")
        return axes
    n_columns = min(n, n_columns)
    n_rows = -(-n // n_columns)
    _, axes = plt.subplots(
        n_rows, n_columns, squeeze=False, layout=layout, figsize=(size[0] * n_columns, size[1] * n_rows)
    )
    for unused in axes.flat[n:]:
        unused.remove()
    return axes.ravel()[:n]


def plain(ax):
    """Without the lines above and on the right."""
    ax.spines[["top", "right"]].set_visible(False)


def legend_right(ax, **arguments):
    """A legend beside the axes, where it hides nothing."""
    return ax.legend(
        **{"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0, "frameon": False} | arguments
    )


def whole_steps(axis):
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def few_dates(axis):
    """Few date ticks, each saying no more than it has to."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)
    axis.set_major_locator(locator)
    axis.set_major_formatter(ConciseDateFormatter(locator))


class TokenText:
    """Sequences of tokens as text, each token on a patch of its value's colour; long ones go on in the next line.

    Parameters
    ----------
    tokens : list of lists of str
    labels : list of str
        What stands before each sequence.
    line_length : int
        Characters in a line.

    Attributes
    ----------
    places : list of lists of (line, first character, token) for each sequence
    first_lines : list of int
    n_lines : int
    """

    def __init__(self, tokens, labels, line_length=64):
        self.labels, self.line_length = labels, line_length
        self.places, self.first_lines, line = [], [], 0
        for sequence in tokens:
            self.first_lines.append(line)
            column, places = 0, []
            # Characters stand side by side, words have a space around them.
            margin = 1 if max(map(len, sequence), default=1) > 1 else 0.6
            for token in map(self._visible, sequence):
                if column and column + len(token) + margin > line_length:
                    line, column = line + 1, 0
                places.append((line, column, token))
                column += len(token) + margin
            self.places.append(places)
            line += 1
        self.n_lines = line

    def _visible(self, token):
        token = token.replace("\n", "\\n").replace("\t", "\\t").replace("\0", "\\0")
        return token if len(token) < self.line_length else token[: self.line_length - 2] + "…"

    def draw(self, ax, values, colours):
        """Draw on axes; returns the patches behind the tokens, a list for each sequence.

        Parameters
        ----------
        ax : matplotlib Axes
        values : list of arrays
            A number for each token.
        colours : matplotlib.cm.ScalarMappable
            From number to colour.
        """
        from matplotlib.patches import Rectangle

        width = ax.get_figure().get_size_inches()[0] * ax.get_position().width * 72  # in points
        size = float(np.clip(width / self.line_length / _CHARACTER_WIDTH, *_FONT_SIZES))
        patches = []
        for places, numbers in zip(self.places, values, strict=True):
            patches.append([])
            for (line, column, token), colour in zip(places, colours.to_rgba(numbers), strict=True):
                margin = 0.9 if len(token) > 1 else 0.56
                corner = column, line - 0.42
                patch = Rectangle(
                    corner, len(token) + margin, 0.84, facecolor=colour, edgecolor="#DDDDDD", linewidth=0.4
                )
                patches[-1].append(ax.add_patch(patch))
                ax.text(
                    column + (len(token) + margin) / 2, line, token, ha="center", va="center", family="monospace",
                    size=size, color=_readable_on(colour), parse_math=False, clip_on=True,
                )  # fmt: skip
        ax.set(xlim=(-0.5, self.line_length + 1), ylim=(self.n_lines - 0.4, -0.6), xticks=[])
        ax.set_yticks(self.first_lines, self.labels)
        ax.tick_params(axis="y", length=0)
        ax.spines[:].set_visible(False)
        return patches


def _readable_on(colour):
    """Black or white, whichever stands out from a colour (relative luminance, ITU-R BT.709)."""
    return "white" if np.dot(colour[:3], (0.2126, 0.7152, 0.0722)) < 0.45 else BLACK


def colour_scale(name, low, high):
    """ScalarMappable of a colour map between two values."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(low, high), name)
