"""scikit-learn's digits, each image 8 steps of 8 values: what `lstmfast demo` trains."""

from lstmfast.__main__ import DEMO_SETTINGS, digits

from .compare import compare

SETTINGS = {**DEMO_SETTINGS, "alpha": 1e-4}

if __name__ == "__main__":
    compare("digits", digits(), SETTINGS)
