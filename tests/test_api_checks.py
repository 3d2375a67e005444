"""scikit-learn's own checks of what reads text or series, or gives each step a label.

check_estimator fits numbers with one label a row, so of these estimators it checks nothing but what is here.
"""

import inspect

import pytest
from sklearn.exceptions import SkipTestWarning
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

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


# ---- data of these checks as series: rows are steps, columns variables; their y becomes the covariates ---------------
NO_COVARIATES = "The check forecasts without the covariates that it fits with: these must be known for the future."
FORECASTER_FAILURES = {
    "check_fit_score_takes_y": "A forecaster's first argument is y; X comes second and may be absent.",
    "check_n_features_in": "n_features_in_ counts covariates, the columns of X, not those of y.",
    "check_n_features_in_after_fitting": "n_features_in_ counts covariates, the columns of X, not those of y.",
    "check_fit1d": "One dimension is a series of numbers.",
    "check_fit2d_1sample": "One row is a series of one step: the error says how many are needed.",
    "check_fit2d_predict1d": "One dimension is a series of numbers: the error says how many variables are needed.",
    "check_estimators_empty_data_messages": "The error speaks of steps and variables.",
} | dict.fromkeys(
    ["check_estimators_dtypes", "check_dtype_object", "check_estimators_pickle", "check_array_api_input",
     "check_f_contiguous_array_estimator", "check_methods_sample_order_invariance", "check_methods_subset_invariance",
     "check_dict_unchanged", "check_fit_idempotent"],
    NO_COVARIATES,
)  # fmt: skip
STRICT = {"xfail_strict": True} if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters else {}


@parametrize_with_checks(
    [LSTMForecaster(window=3, hidden_layer_sizes=2, max_iter=2, n_jobs=1)],
    expected_failed_checks=lambda estimator: FORECASTER_FAILURES, **STRICT,
)  # fmt: skip
def test_forecaster_checks(estimator, check):
    check(estimator)
