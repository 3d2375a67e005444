"""Displays: what the artists hold is the estimators' data, and every wrong argument is named."""

import sys

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from lstmfast import (
    LSTMClassifier,
    LSTMForecaster,
    LSTMLanguageModel,
    LSTMRecommender,
    LSTMRegressor,
    LSTMTranslator,
    SequenceScaler,
    SequenceVectorizer,
)
from lstmfast.display import AttentionDisplay, ForecastDisplay, LossCurveDisplay, SaliencyDisplay


@pytest.fixture(autouse=True)
def _no_open_figures():
    yield
    for number in plt.get_fignums():
        plt.figure(number).draw_without_rendering()  # a layout that does not fit warns, and a warning is an error
    plt.close("all")


class Fake(BaseEstimator):
    """A fitted estimator whose answers are known."""

    embedding_dim = None
    calibration_fraction = 0.2
    window = 3

    def __init__(self, answers=None):
        self.answers = answers

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True


# ---- loss curves ----


@pytest.fixture(scope="module")
def regressor():
    X = np.random.default_rng(0).normal(size=(40, 4, 2))
    return LSTMRegressor(3, max_iter=6, random_state=0).fit(X[:30], X[:30, -1], X_val=X[30:], y_val=X[30:, -1])


def test_loss_curve_of_an_estimator(regressor):
    display = LossCurveDisplay.from_estimator(regressor)
    assert display.line_.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert display.line_.get_ydata().tolist() == regressor.loss_curve_
    assert display.score_line_.get_ydata().tolist() == regressor.validation_scores_
    assert display.line_.axes is display.ax_
    assert display.score_line_.axes is display.score_ax_ is not display.ax_
    assert display.line_.get_label() == "LSTMRegressor"
    assert display.figure_ is display.ax_.figure
    of_pipeline = LossCurveDisplay.from_estimator(make_pipeline(SequenceScaler(), regressor), color="black")
    assert of_pipeline.line_.get_ydata().tolist() == regressor.loss_curve_
    assert of_pipeline.line_.get_color() == "black"


@pytest.mark.parametrize(
    ("loss", "scores", "best"),
    [
        ([3.0, 1.0, 2.0], None, 2),
        ([3.0, 1.0, 2.0], [0.1, 0.2, 0.9], 3),
        ([3.0, 1.0, 2.0], [0.9], 1),  # two epochs of partial_fit afterwards
        ([3.0, 1.0, np.nan], None, 2),
        ([5.0], None, 1),
    ],
)
def test_best_epoch(loss, scores, best):
    display = LossCurveDisplay(loss, scores).plot()
    assert display.best_epoch == best
    assert list(display.best_line_.get_xdata()) == [best, best]
    assert (display.score_line_ is None) == (scores is None)
    assert len(loss) > 1 or display.line_.get_marker() == "o"  # a single value needs a marker to be seen


def test_loss_curve_errors(regressor):
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(LSTMRegressor())
    untrained = Fake()
    untrained.loss_curve_, untrained.validation_scores_ = [], None
    with pytest.raises(ValueError, match="was not trained here"):
        LossCurveDisplay.from_estimator(untrained)
    with pytest.raises(ValueError, match="at least one epoch"):
        LossCurveDisplay([])
    with pytest.raises(ValueError, match="ax must be 1 axes"):
        LossCurveDisplay.from_estimator(regressor, ax=plt.subplots(2)[1])


@pytest.mark.parametrize("display", [LossCurveDisplay([1.0]), AttentionDisplay([[1.0]]), ForecastDisplay([[1]], [[2]])])
def test_without_matplotlib(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "lstmfast\[plot\]"'):
        display.plot()


def test_given_axes():
    figure, axes = plt.subplots(3)
    assert LossCurveDisplay([2.0, 1.0]).plot(axes[0]).figure_ is figure
    display = AttentionDisplay([np.ones((2, 2)) / 2] * 2).plot(axes[1:])
    assert display.axes_.tolist() == axes[1:].tolist()


# ---- attention ----


class Attentive(Fake):
    def attention(self, X):
        return [np.arange(1, len(x) + 1) / np.arange(1, len(x) + 1).sum() for x in X]


RAGGED = [np.zeros((3, 2)), np.zeros((1, 2)), np.zeros((4, 2))]


def test_attention_of_one_sequence_is_bars():
    display = AttentionDisplay.from_estimator(Attentive(), RAGGED, index=2)
    assert [bar.get_height() for bar in display.bars_] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert [bar.get_center()[0] for bar in display.bars_] == pytest.approx([0, 1, 2, 3])


def test_attention_of_several_is_a_heat_map():
    display = AttentionDisplay.from_estimator(Attentive(), RAGGED)
    (image,) = display.images_
    expected = np.array([[1 / 6, 2 / 6, 3 / 6, np.nan], [1, np.nan, np.nan, np.nan], [0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), expected)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["sequence 0", "sequence 1", "sequence 2"]
    some = AttentionDisplay.from_estimator(Attentive(), RAGGED, index=[-1, 0])
    assert [label.get_text() for label in some.ax_.get_yticklabels()] == ["sequence 2", "sequence 0"]
    assert len(AttentionDisplay.from_estimator(Attentive(), RAGGED, max_sequences=2).weights) == 2


def test_attention_of_text_in_a_pipeline():
    texts = ["A good film!", "", "so $bad$ film"]
    model = Attentive()
    model.embedding_dim = 4
    pipeline = make_pipeline(SequenceVectorizer().fit(texts), model)
    display = AttentionDisplay.from_estimator(pipeline, texts)
    written = [text.get_text() for text in display.ax_.texts]
    assert written == ["a", "good", "film", "!", "\N{REPLACEMENT CHARACTER}", "so", "$", "bad", "$", "film"]
    assert [len(patches) for patches in display.patches_] == [4, 1, 5]
    # Higher weights are darker: the single token has all the attention.
    luminance = [sum(patch.get_facecolor()[:3]) for patches in display.patches_ for patch in patches]
    assert np.argmin(luminance) == 4
    assert luminance[0] > luminance[1] > luminance[2] > luminance[3]


@pytest.fixture(scope="module")
def translator():
    sources = [f"{a} {b}" for a in "abcd" for b in "wxyz"]
    return LSTMTranslator(8, max_iter=30, learning_rate_init=0.02, random_state=0).fit(
        sources, [source[::-1].upper() for source in sources]
    )


def test_attention_of_a_translator(translator):
    sources = ["a w", "d x", "b"]
    display = AttentionDisplay.from_estimator(translator, sources, max_sequences=2)
    for image, weights in zip(display.images_, translator.attention(sources[:2]), strict=True):
        np.testing.assert_allclose(image.get_array(), weights)
    predicted = translator.predict(sources[:2])
    for ax, source, target in zip(display.axes_, sources, predicted, strict=False):
        assert [label.get_text() for label in ax.get_xticklabels()] == source.split()
        assert [label.get_text() for label in ax.get_yticklabels()] == target.split()
    given = AttentionDisplay.from_estimator(translator, sources, ["W A", "X D", "B"], index=1)
    np.testing.assert_allclose(given.images_[0].get_array(), translator.attention(["d x"], ["X D"])[0])
    assert [label.get_text() for label in given.ax_.get_yticklabels()] == ["X", "D"]


def test_attention_errors(translator):
    with pytest.raises(ValueError, match="pooling='attention'"):
        AttentionDisplay.from_estimator(Fake(), RAGGED)
    with pytest.raises(ValueError, match="out of range: there are 3 sequences"):
        AttentionDisplay.from_estimator(Attentive(), RAGGED, index=3)
    for index in (1.5, [], [[0]], "a"):
        with pytest.raises(ValueError, match="index must be an integer or a list"):
            AttentionDisplay.from_estimator(Attentive(), RAGGED, index=index)
    for number in (0, 2.0, True):
        with pytest.raises(ValueError, match="max_sequences must be an integer of at least 1"):
            AttentionDisplay.from_estimator(Attentive(), RAGGED, max_sequences=number)
    with pytest.raises(ValueError, match="targets are for a translator"):
        AttentionDisplay.from_estimator(Attentive(), RAGGED, RAGGED)
    with pytest.raises(ValueError, match="tokens must be 3 lists"):
        AttentionDisplay.from_estimator(Attentive(), RAGGED, tokens=[["a"]])
    with pytest.raises(ValueError, match=r"as long as the sequences, \[3, 1, 4\] steps, got \[3, 1, 2\]"):
        AttentionDisplay.from_estimator(Attentive(), RAGGED, tokens=["abc", "d", "ef"])
    with pytest.raises(ValueError, match="X is empty"):
        AttentionDisplay.from_estimator(Attentive(), [])
    with pytest.raises(TypeError, match="several sequences, got str"):
        AttentionDisplay.from_estimator(translator, "a w")
    with pytest.raises(ValueError, match="all of two"):
        AttentionDisplay([[0.5, 0.5], [[1.0]]])
    with pytest.raises(ValueError, match="target_tokens go with weights of two dimensions"):
        AttentionDisplay([[0.5, 0.5]], target_tokens=["ab"])


# ---- forecasts ----


class Forecaster(Fake):
    """Knows the series 1 ... 10, and goes on with it."""

    training_tail_ = np.arange(1.0, 11.0)

    def predict(self, y=None, X=None, horizon=None):
        last = (self.training_tail_ if y is None else y)[-1]
        return last + np.arange(1, (horizon or 2) + 1)

    def predict_interval(self, y=None, X=None, horizon=None, coverage=0.9):
        return self.predict(y, X, horizon) - coverage, self.predict(y, X, horizon) + coverage


def band_of(display, i=0):
    """Upper and lower end of a band at each x, from the outline of its polygon."""
    vertices = display.bands_[i].get_paths()[0].vertices
    at = sorted(set(vertices[:, 0]))
    return {x: (vertices[vertices[:, 0] == x, 1].min(), vertices[vertices[:, 0] == x, 1].max()) for x in at}


def test_forecast_of_an_array():
    display = ForecastDisplay.from_estimator(Forecaster(), [11.5, 11.0], coverage=0.5)
    # 3 times the horizon of the series; steps count from its last value.
    assert display.history_lines_[0].get_xydata().tolist() == [[-5, 5], [-4, 6], [-3, 7], [-2, 8], [-1, 9], [0, 10]]
    assert display.lines_[0].get_xydata().tolist() == [[0, 10], [1, 11], [2, 12]]
    assert display.true_lines_[0].get_xydata().tolist() == [[1, 11.5], [2, 11]]
    assert band_of(display) == {0: (10, 10), 1: (10.5, 11.5), 2: (11.5, 12.5)}
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["History", "50 % interval", "Forecast", "Observed"]


def test_forecast_of_a_series_of_ones_own():
    display = ForecastDisplay.from_estimator(Forecaster(), y=np.array([5.0, 7.0]), horizon=1, n_history=1)
    assert display.history_lines_[0].get_xydata().tolist() == [[0, 7]]
    assert display.lines_[0].get_xydata().tolist() == [[0, 7], [1, 8]]
    assert band_of(display)[1] == pytest.approx((7.1, 8.9))


def test_forecast_without_interval():
    model = Forecaster()
    model.calibration_fraction = 0
    display = ForecastDisplay.from_estimator(model)
    assert not display.bands_
    assert display.ax_.get_title(loc="right") == "No interval: calibration_fraction=0"
    asked = ForecastDisplay.from_estimator(Forecaster(), coverage=None)
    assert not asked.bands_
    assert asked.ax_.get_title(loc="right") == ""


@pytest.mark.parametrize("make", [pd.date_range, pd.period_range])
def test_forecast_of_pandas(make):
    index = make("2001-01", periods=6, freq="MS" if make is pd.date_range else "M")
    series = pd.Series(np.arange(6.0), index, name="Passengers")
    past, future = series[:4], series[4:]
    display = ForecastDisplay([past], [future], [future - 1], [future + 1], y_true=[future[:1]]).plot()
    months = np.array(["2001-01", "2001-02", "2001-03", "2001-04", "2001-05", "2001-06"], "datetime64[ns]")
    np.testing.assert_array_equal(display.history_lines_[0].get_xdata(), months[:4])
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), months[3:])
    np.testing.assert_array_equal(display.true_lines_[0].get_xdata(), months[4:5])
    assert display.ax_.get_ylabel() == "Passengers"


def test_forecast_of_several_variables_and_series():
    frame = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]})
    ahead = pd.DataFrame({"a": [5.0], "b": [6.0]}, index=[2])
    display = ForecastDisplay([frame, frame + 10], [ahead, ahead + 10], names=["x", "y"]).plot()
    assert [ax.get_ylabel() for ax in display.axes_] == ["a", "b", "a", "b"]
    assert [ax.get_title(loc="left") for ax in display.axes_] == ["x", "", "y", ""]
    assert [line.get_ydata().tolist() for line in display.lines_] == [[2, 5], [4, 6], [12, 15], [14, 16]]


class ManySeries(Forecaster):
    training_tail_ = [np.arange(1.0, 4.0), np.arange(10.0, 40.0), np.arange(5.0)]  # noqa: RUF012

    def predict(self, y=None, X=None, horizon=None):
        return [series[-1] + np.arange(1.0, 3.0) for series in self.training_tail_]

    def predict_interval(self, y=None, X=None, horizon=None, coverage=0.9):
        return [ahead - 1 for ahead in self.predict()], [ahead + 1 for ahead in self.predict()]


def test_forecast_of_some_of_many_series():
    display = ForecastDisplay.from_estimator(ManySeries(), [[0, 0], [40, 41], [0, 0]], index=[1, 0])
    assert display.names == ["series 1", "series 0"]
    assert display.lines_[0].get_ydata().tolist() == [39, 40, 41]
    assert display.true_lines_[0].get_ydata().tolist() == [40, 41]
    assert band_of(display, 1)[2] == (4, 6)
    assert len(ForecastDisplay.from_estimator(ManySeries(), max_sequences=2).axes_) == 2


def test_forecast_errors():
    with pytest.raises(ValueError, match="y_true has 3 steps, more than the 2 of the forecast"):
        ForecastDisplay.from_estimator(Forecaster(), [1, 2, 3])
    with pytest.raises(ValueError, match="y_true must hold 3 series"):
        ForecastDisplay.from_estimator(ManySeries(), [[1, 2]])
    with pytest.raises(ValueError, match="the same variables"):
        ForecastDisplay([np.ones((3, 2))], [np.ones(2)])
    with pytest.raises(ValueError, match="lower and upper go together"):
        ForecastDisplay([[1]], [[2]], [[1]])
    with pytest.raises(ValueError, match="forecast must hold 1 series"):
        ForecastDisplay([[1]], [])


# ---- saliency ----


class Explained(Fake):
    """Attributes to each value ten times the value."""

    def explain(self, X, method, target=None):
        return [np.asarray(x) * (10.0 if target is None else target) for x in X]


def test_saliency_of_numbers():
    X = [np.array([[1.0, -2.0], [3.0, 4.0], [0.0, 0.5]]), np.array([[1.0, 1.0]]), np.ones((9, 2))]
    display = SaliencyDisplay.from_estimator(Explained(), X, feature_names=["warm", "cold"])
    assert len(display.images_) == 2
    for image, lines, x in zip(display.images_, display.lines_, X, strict=False):
        np.testing.assert_allclose(image.get_array(), 10 * x.T)
        np.testing.assert_allclose([line.get_ydata() for line in lines], x.T)
        assert image.get_clim() == (-40, 40)  # one scale for all, white at 0
    assert [label.get_text() for label in display.heat_axes_[0].get_yticklabels()] == ["warm", "cold"]
    assert display.heat_axes_[0].get_xlim() == display.value_axes_[0].get_xlim() == (-0.5, 2.5)


def test_saliency_names_the_features_that_matter_most():
    attributions = np.outer(np.ones(4), np.arange(12))
    display = SaliencyDisplay([attributions], [np.zeros((4, 12))]).plot()
    names = [text.get_text() for text in display.value_axes_[0].get_legend().get_texts()]
    assert names == [f"feature {i}" for i in (11, 10, 9, 8, 7)]
    colours = [to_hex(line.get_color()) for line in display.lines_[0]]
    assert set(colours[:7]) == {"#999999"}
    assert len(set(colours[7:])) == 5


def test_saliency_of_univariate_input():
    for X in (np.array([[1.0, 2.0, 3.0]]), pd.DataFrame([[1.0, 2.0, 3.0]])):
        model = Explained()
        model.explain = lambda X, method: 10 * np.asarray(X)
        display = SaliencyDisplay.from_estimator(model, X)
        np.testing.assert_allclose(display.images_[0].get_array(), [[10, 20, 30]])
        np.testing.assert_allclose(display.lines_[0][0].get_ydata(), [1, 2, 3])


def test_saliency_goes_through_a_pipeline():
    X = [np.array([[0.0], [2.0]]), np.array([[4.0], [6.0]])]
    pipeline = make_pipeline(SequenceScaler().fit(X), Explained())
    display = SaliencyDisplay.from_estimator(pipeline, X, index=0, target=3)
    scaled = SequenceScaler().fit_transform(X)[0]
    np.testing.assert_allclose(display.images_[0].get_array(), 3 * scaled.T)


def test_saliency_of_tokens():
    model = Explained()
    model.embedding_dim = 3
    display = SaliencyDisplay.from_estimator(model, [np.array([1, -1, 0])], tokens=[["yes", "no", "a" * 99]])
    red, blue, white = (patch.get_facecolor() for patch in display.patches_[0])
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert min(white) > 0.95
    assert [text.get_text() for text in display.ax_.texts] == ["yes", "no", "a" * 62 + "…"]
    ids = SaliencyDisplay.from_estimator(model, [np.array([1, 7]), np.array([12])])
    assert [text.get_text() for text in ids.ax_.texts] == ["1", "7", "12"]


def test_tokens_fill_lines_and_begin_new_ones():
    tokens = [list("ab" * 30), ["word\n", r"$\frac$"]]
    display = SaliencyDisplay([np.zeros(60), np.zeros(2)], tokens=tokens).plot()
    corners = np.array([patch.get_xy() for patch in display.patches_[0]])
    ends = corners[:, 0] + [patch.get_width() for patch in display.patches_[0]]
    lines = corners[:, 1].round(2)
    assert len(set(lines)) == 2
    assert ends.max() <= display.ax_.get_xlim()[1]
    same_line = lines[1:] == lines[:-1]
    assert (corners[1:, 0] >= ends[:-1])[same_line].all()  # no patch covers its neighbour
    assert display.patches_[1][0].get_xy()[1] == pytest.approx(2 - 0.42)
    assert [text.get_text() for text in display.ax_.texts[60:]] == ["word\\n", r"$\frac$"]


def test_saliency_errors():
    with pytest.raises(ValueError, match="not 'gates'"):
        SaliencyDisplay.from_estimator(Explained(), RAGGED, method="gates")
    with pytest.raises(ValueError, match="either values or tokens"):
        SaliencyDisplay([[1.0]])
    with pytest.raises(ValueError, match="must have the same shapes"):
        SaliencyDisplay([[1.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="feature_names must be 2 names"):
        SaliencyDisplay.from_estimator(Explained(), RAGGED, feature_names=["a"])
    with pytest.raises(NotFittedError):
        SaliencyDisplay.from_estimator(LSTMClassifier(), RAGGED)


# ---- with the estimators themselves ----


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2001-01-31", periods=40, freq="ME"),
        pd.date_range("2001-03-24", periods=40, freq="3h", tz="Europe/Berlin"),
        pd.period_range("2001-01", periods=40, freq="2M"),
        pd.RangeIndex(3, 123, 3),
        pd.Index(np.arange(40) / 2),
    ],
    ids=lambda index: type(index).__name__,
)
def test_forecast_from_the_end_of_the_training_series(index):
    y = pd.Series(np.arange(1.0, 41.0), index, name="v")
    settings = {"hidden_layer_sizes": 2, "max_iter": 1, "calibration_fraction": 0, "random_state": 0}
    forecaster = LSTMForecaster(2, window=5, differences=(1, 2), log=True, **settings).fit(y)
    pd.testing.assert_series_equal(forecaster.training_tail_, y[-8:], check_freq=False)  # window, and 3 lost steps
    display = ForecastDisplay.from_estimator(forecaster, n_history=4)
    np.testing.assert_allclose(display.history_lines_[0].get_ydata(), [37, 38, 39, 40])
    np.testing.assert_allclose(display.lines_[0].get_ydata(), [40, *forecaster.predict()])
    many = LSTMForecaster(2, window=5, **settings).fit([np.arange(40.0), np.arange(30.0)])
    assert [tail.tolist() for tail in many.training_tail_] == [[35, 36, 37, 38, 39], [25, 26, 27, 28, 29]]


def test_attention_and_saliency_of_a_text_classifier():
    texts = ["good film", "a bad film", "so good", "bad"] * 5
    model = make_pipeline(
        SequenceVectorizer(), LSTMClassifier(4, embedding_dim=3, pooling="attention", max_iter=2, random_state=0)
    ).fit(texts, ["+", "-"] * 10)
    display = AttentionDisplay.from_estimator(model, texts, index=1)
    np.testing.assert_allclose(display.weights[0], model[-1].attention(model[:-1].transform(texts[1:2]))[0])
    assert [text.get_text() for text in display.ax_.texts] == ["a", "bad", "film"]
    saliency = SaliencyDisplay.from_estimator(model, texts, target="+", max_sequences=2)
    expected = model[-1].explain(model[:-1].transform(texts[:2]), target="+")
    for found, attributions in zip(saliency.attributions, expected, strict=True):
        np.testing.assert_array_equal(found, attributions)
    with pytest.raises(ValueError, match="attention"):
        AttentionDisplay.from_estimator(LSTMRegressor(2, max_iter=1).fit(np.ones((4, 3)), np.ones(4)), np.ones((1, 3)))


def test_saliency_of_every_kind_of_text_model(translator):
    language_model = LSTMLanguageModel(4, level="char", max_iter=1, random_state=0).fit(["abc", "bca"])
    display = SaliencyDisplay.from_estimator(language_model, ["ab", "c"])
    assert [text.get_text() for text in display.ax_.texts] == ["a", "b", "c"]
    recommender = LSTMRecommender(4, max_iter=1, random_state=0).fit([[3, 5, 7], [5, 3]])
    display = SaliencyDisplay.from_estimator(recommender, [[3, 5]])
    assert [text.get_text() for text in display.ax_.texts] == ["3", "5"]
    display = SaliencyDisplay.from_estimator(translator, ["a w", "d x"])
    assert [text.get_text() for text in display.ax_.texts] == ["a", "w", "d", "x"]


def test_saliency_of_forecasts():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["warm", "cold"])
    settings = {"hidden_layer_sizes": 2, "max_iter": 1, "calibration_fraction": 0, "random_state": 0}
    forecaster = LSTMForecaster(2, window=5, **settings).fit(frame)
    display = SaliencyDisplay.from_estimator(forecaster)
    np.testing.assert_array_equal(display.attributions[0], forecaster.explain())
    np.testing.assert_allclose([line.get_ydata() for line in display.lines_[0]], frame[-5:].T)
    assert display.feature_names == ["warm", "cold"]
    many = LSTMForecaster(2, window=5, **settings).fit([np.arange(40.0), np.arange(30.0)])
    other = [np.arange(20.0), np.arange(10.0)]
    display = SaliencyDisplay.from_estimator(many, other, index=1, method="occlusion", target=1)
    np.testing.assert_array_equal(display.attributions[0], many.explain(other, method="occlusion", target=1)[1])
    assert display.lines_[0][0].get_ydata().tolist() == [5, 6, 7, 8, 9]
    with pytest.raises(ValueError, match="there are 2 sequences"):
        SaliencyDisplay.from_estimator(many, index=2)


def test_attention_of_a_forecaster():
    settings = {"window": 5, "pooling": "attention", "hidden_layer_sizes": 2, "max_iter": 1, "random_state": 0}
    forecaster = LSTMForecaster(2, calibration_fraction=0, **settings).fit(np.sin(np.arange(60.0)))
    display = AttentionDisplay.from_estimator(forecaster)
    np.testing.assert_array_equal(display.weights, forecaster.attention())
    y = np.cos(np.arange(40.0))  # one series, and not 40 sequences of which 20 are shown
    np.testing.assert_array_equal(AttentionDisplay.from_estimator(forecaster, y).weights, forecaster.attention(y))


def test_attention_of_an_empty_translation():
    tokens = [list("abc")] * 2
    display = AttentionDisplay([np.ones((2, 3)) / 3, np.zeros((0, 3))], tokens=tokens, target_tokens=["xy", ""]).plot()
    assert display.images_[0].get_array().shape == (2, 3)
    assert display.images_[1] is None
    assert [text.get_text() for text in display.axes_[1].texts] == ["empty"]
