import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from lstmfast import LSTMClassifier, LSTMRegressor
REASON="x"
@parametrize_with_checks([LSTMClassifier(), LSTMRegressor()], expected_failed_checks=lambda e: {"check_sample_weight_equivalence_on_dense_data": REASON})
def test_estimator_checks(estimator, check):
    check(estimator)
