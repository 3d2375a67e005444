"""LSTMForecaster given what it must refuse; saving, loading and forged files."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from test_forecaster import RNG, same, season, small

import lstmfast
from lstmfast import LSTMForecaster, ModelFormatError
from lstmfast.persistence import read_model, write_model

GOOD, DATES = season(60), pd.date_range("2020", periods=60)
SHUFFLED = pd.Series(GOOD, DATES).sample(frac=1, random_state=0)


def state_of(forecaster):
    """All that fitting set, in bytes."""
    parameters = forecaster.get_params()
    return pickle.dumps({name: value for name, value in vars(forecaster).items() if name not in parameters})


@pytest.mark.parametrize(
    ("y", "X", "parameters", "error", "message"),
    [
        (None, None, {}, TypeError, "^y is None"),
        ("text", None, {}, (TypeError, ValueError), "y must hold numbers"),
        (["a", "b"] * 30, None, {}, ValueError, "y must hold numbers"),
        (np.r_[GOOD, np.nan], None, {}, ValueError, r"y contains NaN.\nThe first is y\[60\]"),
        ([GOOD, np.r_[GOOD, np.inf]], None, {}, ValueError, r"y contains infinity.*\n.*y\[1\]\[60\]"),
        (np.zeros((2, 60, 1)), None, {}, ValueError, r"y must have shape \(T,\) or \(T, d\)"),
        (np.zeros((60, 0)), None, {}, ValueError, "d at least 1"),
        ([], None, {}, ValueError, "y has 0 steps"),
        (5.0, None, {}, ValueError, "y must have shape"),
        ([GOOD, np.zeros((60, 2))], None, {}, ValueError, r"y\[1\] has shape \(60, 2\), but y\[0\]"),
        (GOOD[:14], None, {}, ValueError, r"y has 14 steps, but window=12, horizon=3 and differences=\(\) .* 15"),
        (GOOD[:20], None, {"differences": (1, 5)}, ValueError, r"20 steps, but .*differences=\(1, 5\) .* 21"),
        ([GOOD, GOOD[:3]], None, {}, ValueError, r"y\[1\] has 3 steps"),
        (GOOD - 20, None, {"log": True}, ValueError, "log=True needs positive values, but y has -5"),
        (GOOD * 1e300, None, {}, ValueError, "too large for their squares"),
        (GOOD * 1e100, None, {"scale": False}, ValueError, "too large for float32"),
        (GOOD, GOOD * 1e100, {"scale": False}, ValueError, "too large for float32"),
        (GOOD, GOOD[:59], {}, ValueError, "X has 59 rows, but 60 are needed"),
        (GOOD, GOOD * np.nan, {}, ValueError, "X contains NaN"),
        ([GOOD], GOOD, {}, ValueError, "X must be a list of 1 arrays"),
        ([GOOD, GOOD], [GOOD], {}, ValueError, "X must be a list of 2 arrays"),
        (SHUFFLED, None, {}, ValueError, r"the index of y is not sorted: call sort_index\(\)"),
        (pd.Series(GOOD, DATES[[0, 0, *range(2, 60)]]), None, {}, ValueError, "2020-01-01 00:00:00 twice"),
        (pd.Series(GOOD[1:], DATES.delete(5)), None, {}, ValueError, r"dates of y are not evenly spaced.*asfreq"),
        (pd.Series(GOOD[1:], DATES.to_period().delete(5)), None, {}, ValueError, "periods of y have gaps"),
        (pd.Series(GOOD, [*range(59), 60]), None, {}, ValueError, "index of y is not evenly spaced"),
        (pd.Series(GOOD, sorted(map(str, DATES))), None, {}, ValueError, r"cannot be continued.*to_datetime"),
        (pd.Series(GOOD, DATES), pd.Series(GOOD, DATES.shift(1)), {}, ValueError, "index of X must go from 2020-01-01"),
        (GOOD, None, {"horizon": 0}, ValueError, "'horizon' parameter"),
        (GOOD, None, {"window": 2.5}, ValueError, "'window' parameter"),
        (GOOD, None, {"strategy": "both"}, ValueError, "'strategy' parameter"),
        (GOOD, None, {"differences": 0}, ValueError, "'differences' parameter"),
        (GOOD, None, {"differences": (1, -1)}, ValueError, "each of differences must be at least 1"),
        (GOOD, None, {"differences": ("a",)}, TypeError, "each of differences must be an integer"),
        (GOOD, None, {"calibration_fraction": 1.0}, ValueError, "'calibration_fraction' parameter"),
        (GOOD, None, {"log": "yes"}, ValueError, "'log' parameter"),
        (GOOD, None, {"quantile": 1}, ValueError, "'quantile' parameter"),
    ],
)
def test_what_fit_refuses_changes_nothing(y, X, parameters, error, message):
    new = small(**parameters)
    with pytest.raises(error, match=message):
        new.fit(y, X)
    with pytest.raises(NotFittedError):
        new.predict()
    old = small().fit(GOOD)
    fitted = state_of(old)
    with pytest.raises(error, match=message):
        old.set_params(**parameters).fit(y, X)
    assert state_of(old) == fitted


def test_the_shortest_series_has_one_window():
    forecaster = small(differences=(1, 2)).fit(GOOD[:18])
    assert forecaster.predict(GOOD[:15]).shape == (3,)
    with pytest.raises(ValueError, match=r"y has 14 steps, but window=12 and differences=\(1, 2\) need at least 15"):
        forecaster.predict(GOOD[:14])
    one_step = LSTMForecaster(window=1, max_iter=1).fit(pd.Series([1.0, 2.0]))
    assert one_step.predict(pd.Series([3.0], [7])).index.tolist() == [8]
    assert np.isfinite(LSTMForecaster(window=1, max_iter=1).fit([1.0, 2.0]).predict()).all()


@pytest.mark.parametrize(
    ("y", "X", "message"),
    [
        (None, None, "needs the covariates X"),
        (None, np.ones((2, 2)), "X has 2 rows, but 3 are needed"),
        (None, pd.DataFrame(np.ones((3, 3)), columns=["a", "b", "c"]), "feature names"),
        (GOOD, np.ones((60, 2)), "X has 60 rows, but 63 are needed"),
        (np.ones((60, 2)), np.ones((63, 2)), "y has 2 variables, but fit had 1"),
        (None, pd.DataFrame(np.ones((3, 2)), columns=["b", "a"]), "feature names"),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_what_forecasts_refuse(y, X, message):
    table = pd.DataFrame(RNG.normal(size=(60, 2)), columns=["a", "b"])
    forecaster = small().fit(GOOD, table)
    for use in (forecaster.predict, forecaster.predict_interval):
        with pytest.raises(ValueError, match=message):
            use(y, X)


def test_covariates_that_fit_did_not_have():
    with pytest.raises(ValueError, match="has no covariates, but X was given"):
        small().fit(GOOD).predict(X=np.ones((3, 1)))
    with pytest.raises(ValueError, match="X has 1 features, but LSTMForecaster is expecting 2 features"):
        small().fit(GOOD, np.ones((60, 2))).predict(X=np.ones((3, 1)))


@pytest.mark.parametrize("horizon", [0, 1.5, "3"])
def test_horizons_that_are_none(horizon):
    with pytest.raises((TypeError, ValueError), match="horizon must be"):
        small().fit(GOOD).predict(horizon=horizon)


def test_scores_need_what_follows():
    forecaster = small().fit(pd.Series(GOOD, DATES))
    with pytest.raises(ValueError, match="scores of horizon=3 need at least 3"):
        forecaster.score(GOOD[:2])
    with pytest.raises(ValueError, match="index of y must go from 2020-03-01"):
        forecaster.score(pd.Series(GOOD, DATES))
    with pytest.raises(ValueError, match="y must go on from the 1 series of fit, got 2"):
        forecaster.score([GOOD, GOOD])


@pytest.mark.parametrize(
    ("use", "arguments"), [("predict", ()), ("predict_interval", ()), ("score", (GOOD,)), ("save", ("x",))]
)
def test_nothing_before_fit(use, arguments):
    with pytest.raises(NotFittedError):
        getattr(small(), use)(*arguments)
    assert not any(hasattr(small(), name) for name in ("n_variables_", "n_calibration_windows_", "transform"))


# ---- files ----------------------------------------------------------------------------------------------------------
TABLE = pd.DataFrame(RNG.normal(size=(63, 2)), columns=["a", "b"])
CASES = {
    "one": (GOOD, None, {}),
    "dates": (pd.Series(GOOD, DATES.tz_localize("Asia/Tokyo"), name="sales"), None, {}),
    "periods": (pd.DataFrame({"a": GOOD, "b": GOOD}, DATES.to_period()), None, {}),
    "list": ([GOOD, GOOD[:40]], None, {"differences": (1, 3), "log": True}),
    "one in a list": ([GOOD], None, {"strategy": "recursive"}),
    "covariates": (np.c_[GOOD, GOOD], TABLE[:60], {}),
    "not calibrated": (GOOD, None, {"calibration_fraction": 0}),
    "shortest": (GOOD[:15], None, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_files_and_pickles_keep_every_bit(case, tmp_path):
    y, X, parameters = CASES[case]
    forecaster, future = small(**parameters).fit(y, X), None if X is None else TABLE[60:]
    forecaster.save(tmp_path / "model")
    for again in (lstmfast.load(tmp_path / "model"), pickle.loads(pickle.dumps(forecaster))):
        uses = [lambda model: model.predict(X=future)]
        if forecaster.n_calibration_windows_:
            uses += [lambda model, side=side: model.predict_interval(X=future, coverage=0.5)[side] for side in (0, 1)]
        for use in uses:
            ours, theirs = use(again), use(forecaster)
            assert type(ours) is type(theirs)
            if isinstance(ours, pd.Series | pd.DataFrame):
                assert ours.equals(theirs)
                assert ours.index.equals(theirs.index)
            pairs = zip(ours, theirs, strict=True) if isinstance(ours, list) else [(ours, theirs)]
            assert all(same(*pair) for pair in pairs)
        assert again.n_features_in_ == forecaster.n_features_in_
        assert hasattr(again, "feature_names_in_") == (X is not None)


def test_files_hold_only_the_ends_of_series(tmp_path):
    sizes = []
    for n in (6_000, 30_000):
        small(max_iter=1, batch_size=512).fit(season(n)).save(tmp_path / "model")
        sizes.append((tmp_path / "model").stat().st_size)
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


@pytest.mark.parametrize(
    "change",
    [
        lambda fitted, arrays: arrays.pop("tail_levels"),
        lambda fitted, arrays: arrays.update(tail_levels=arrays["tail_levels"][:, 1:]),
        lambda fitted, arrays: arrays.update(tail_levels=arrays["tail_levels"] * np.nan),
        lambda fitted, arrays: arrays.update(residual_ranks=arrays["residual_ranks"][::-1]),
        lambda fitted, arrays: arrays.update(residual_ranks=arrays["residual_ranks"][:-1]),
        lambda fitted, arrays: arrays.update(extra=np.ones(1)),
        lambda fitted, arrays: fitted.update(is_list=1),
        lambda fitted, arrays: fitted.update(n_variables_=2),
        lambda fitted, arrays: fitted.update(n_features_in_=1),
        lambda fitted, arrays: fitted.update(forms=[]),
        lambda fitted, arrays: fitted["forms"][0]["value"].__setitem__(1, ["index", "stars"]),
        lambda fitted, arrays: fitted.update(feature_names_in_=["a"]),
        lambda fitted, arrays: fitted["preparation"]["value"].__setitem__(0, ["window", 11]),
        lambda fitted, arrays: fitted["preparation"]["value"].__setitem__(1, ["horizon", 0]),
        lambda fitted, arrays: fitted["preparation"]["value"].__setitem__(4, ["log", 1]),
        lambda fitted, arrays: fitted["preparation"]["value"].__setitem__(3, ["lags", [0]]),
        lambda fitted, arrays: fitted.pop("preparation"),
    ],
)
def test_inconsistent_files_are_refused_93(change, tmp_path):
    path = tmp_path / "model"
    small().fit(season(60)).save(path)
    metadata, arrays = read_model(path)
    change(metadata["fitted"], arrays)
    write_model(path, metadata, arrays)
    with pytest.raises(ModelFormatError):
        lstmfast.load(path)


def test_the_runtime_points_to_load(tmp_path):
    small().fit(season(60)).save(tmp_path / "model")
    with pytest.raises(ModelFormatError, match=r"read it with lstmfast\.load"):
        lstmfast.runtime.load(tmp_path / "model")
