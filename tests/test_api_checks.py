"""scikit-learn's own checks of what reads text or series, or gives each step a label.

check_estimator fits numbers with one label a row, so of these estimators it checks nothing but what is here.
"""

import pytest
from sklearn.exceptions import SkipTestWarning
from sklearn.utils import estimator_checks

from lstmfast import LSTMForecaster, LSTMLanguageModel, LSTMRecommender, LSTMTagger, LSTMTranslator, SequenceVectorizer

TEXT = [LSTMLanguageModel, LSTMRecommender, LSTMTranslator, SequenceVectorizer]
CHECKS = [
    "do_not_raise_errors_in_init_or_set_params", "estimator_cloneable", "estimator_repr", "estimator_tags_renamed",
    "estimators_unfitted", "get_params_invariance", "mixin_order", "no_attributes_set_in_init",
    "parameters_default_constructible", "set_params", "transformers_unfitted", "valid_tag_types",
]  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("kind", [*TEXT, LSTMTagger, LSTMForecaster])
def test_checks_that_need_no_data(kind, name):
    if name == "transformers_unfitted" and not hasattr(kind, "transform"):
        return
    getattr(estimator_checks, f"check_{name}")(kind.__name__, kind())


@pytest.mark.parametrize("kind", TEXT)
def test_check_estimator_takes_it(kind):
    with pytest.warns(SkipTestWarning, match=f"Can't test estimator {kind.__name__} which requires input  of type"):
        estimator_checks.check_estimator(kind())
