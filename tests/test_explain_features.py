"""`explain` of LSTMTransformer: what makes a sequence's features what they are."""

import pickle

import numpy as np
import pytest
from test_explain_estimators import TOKENS, X, Y, assert_complete, small

from lstmfast import LSTMTransformer

TARGETS = [None, Y, Y + 0.5]  # what it learns then: reconstruction, classification, regression


@pytest.mark.parametrize("y", TARGETS)
def test_complete(y):
    transformer = small(LSTMTransformer, X, y, dense_layer_sizes=(4, 3), hidden_layer_sizes=(6, 5), bidirectional=True)
    before, after = transformer.transform([0 * x for x in X]), transformer.transform(X)
    assert_complete(transformer.explain(X), ((after - before) * after).sum(axis=1))
    for k in range(3):
        change = (after - before)[:, k]
        if change.any():  # a relu may be flat
            assert_complete(transformer.explain(X, target=k), change)
    assert [[gates.shape for gates in layers] for layers in transformer.explain(X, "gates")] == [
        [(len(x), 4, 12), (len(x), 4, 10)] for x in X
    ]
    with pytest.raises(ValueError, match="target must be a column of transform, an integer from 0 to 2, got 3"):
        transformer.explain(X, target=3)


@pytest.mark.parametrize("y", [None, np.arange(9) % 2])
def test_complete_for_tokens(y):
    transformer = small(LSTMTransformer, TOKENS, y, embedding_dim=3, pooling="mean")
    blind = pickle.loads(pickle.dumps(transformer))
    blind._network.embedding.weight = np.zeros((5, 3))
    before, after = blind.transform(TOKENS), transformer.transform(TOKENS)
    found = transformer.explain(TOKENS)
    assert [values.shape for values in found] == [tokens.shape for tokens in TOKENS]
    assert_complete(found, ((after - before) * after).sum(axis=1))
