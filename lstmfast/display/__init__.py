"""Plots of fits, attention, forecasts and explanations, in the style of scikit-learn's Display classes.

``Display.from_estimator(...)`` computes what is shown and draws it; the data and the matplotlib artists are attributes
of what it returns, and ``plot`` draws it again elsewhere. matplotlib is imported when something is drawn:
``pip install "lstmfast[plot]"``. The colours can be told apart with every kind of colour vision (Okabe & Ito 2008).
"""

from .attention import AttentionDisplay
from .forecast import ForecastDisplay
from .loss_curve import LossCurveDisplay
from .saliency import SaliencyDisplay

__all__ = ["AttentionDisplay", "ForecastDisplay", "LossCurveDisplay", "SaliencyDisplay"]
