"""Pages that draw show their pictures: blocks of code run while the site is built, figures go below their blocks."""

import contextlib
import os
import re
import tempfile
import warnings

_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def add_figures(app, docname, source):
    """Put the figures that a page's blocks draw into its Markdown."""
    if "lstmfast.display" not in source[0]:
        return
    import matplotlib.pyplot as plt

    folder = os.path.join(app.srcdir, "figures")
    os.makedirs(folder, exist_ok=True)
    namespace = {"__name__": "__page__"}

    def with_figures(block):
        exec(compile(block[1], docname, "exec"), namespace)
        images = []
        for number in plt.get_fignums():
            name = f"{docname.replace('/', '-')}-{block.start()}-{number}.png"
            plt.figure(number).savefig(os.path.join(folder, name), dpi=100)
            images.append(f"\n![What the code above draws](/figures/{name})\n")
        plt.close("all")
        return block[0] + "".join(images)

    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch), warnings.catch_warnings():
        warnings.simplefilter("error")
        source[0] = _BLOCK.sub(with_figures, source[0])


def setup(app):
    """Register with sphinx."""
    app.connect("source-read", add_figures)
    # Readers of a parallel build are forked, and OpenMP's threads do not live on in a forked process.
    return {"parallel_read_safe": False}
