"""fit(checkpoint=, resume=): interrupted fits end with the bits of uninterrupted ones; what is refused."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import lstmfast
from lstmfast import (
    LSTMClassifier,
    LSTMForecaster,
    LSTMLanguageModel,
    LSTMRecommender,
    LSTMRegressor,
    LSTMTagger,
    LSTMTransformer,
    LSTMTranslator,
    ModelFormatError,
    persistence,
    runtime,
)
from lstmfast.persistence import read_model, write_model

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 8, 24)
RAGGED = [RNG.normal(size=(length, 3)).astype(np.float32) for length in LENGTHS]
TOKENS = [RNG.integers(0, 7, length) for length in LENGTHS]
LABELS = np.array(["no", "yes", "perhaps"])[RNG.integers(0, 3, 24)]
NUMBERS = RNG.normal(size=24)
STEP_LABELS = [RNG.integers(0, 3, length) for length in LENGTHS]
SERIES = np.sin(np.arange(60) / 3) + RNG.normal(scale=0.1, size=60)
TEXTS = [" ".join(RNG.choice(["sun", "moon", "star"], length)) for length in LENGTHS]
HISTORIES = [tokens.tolist() for tokens in TOKENS]

# Each estimator: its class, arguments, and what it is fitted on.
FITS = {
    "classifier": (LSTMClassifier, {}, (RAGGED, LABELS)),
    "classifier of tokens": (LSTMClassifier, {"embedding_dim": 4}, (TOKENS, LABELS)),
    "regressor": (LSTMRegressor, {"pooling": "attention", "conv_layers": ((4, 2),)}, (RAGGED, NUMBERS)),
    "tagger": (LSTMTagger, {"bidirectional": True}, (RAGGED, STEP_LABELS)),
    "CRF": (LSTMTagger, {"crf": True}, (RAGGED, STEP_LABELS)),
    "forecaster": (LSTMForecaster, {"horizon": 2, "window": 6}, (SERIES,)),
    "language model": (LSTMLanguageModel, {"bptt": 7, "embedding_dim": 4}, (TEXTS,)),
    "recommender": (LSTMRecommender, {"embedding_dim": 4}, (HISTORIES,)),
    "sampled recommender": (LSTMRecommender, {"embedding_dim": 4, "n_samples": 3}, (HISTORIES,)),
    "translator": (LSTMTranslator, {"embedding_dim": 4}, (TEXTS, TEXTS[::-1])),
    "transformer": (LSTMTransformer, {}, (RAGGED, LABELS)),
    "autoencoder": (LSTMTransformer, {}, (RAGGED,)),
    "autoencoder of tokens": (LSTMTransformer, {"embedding_dim": 4}, (TOKENS,)),
}
ARGUMENTS = {
    "hidden_layer_sizes": 5, "max_iter": 5, "batch_size": 7, "learning_rate_init": 0.01, "random_state": 0,
    "dropout": 0.2, "recurrent_dropout": 0.1,
}  # fmt: skip


class Interrupted(Exception):
    """Raised by a callback, in place of a crash."""


def interrupt_in(epoch):
    def callback(info):
        if info.epoch == epoch:
            raise Interrupted

    return callback


def make(kind="classifier", **changes):
    cls, arguments, _ = FITS[kind]
    return cls(**ARGUMENTS | arguments | changes)


def fit(kind="classifier", **arguments):
    """A fitted estimator; `checkpoint` and `resume` go to its fit."""
    options = {name: arguments.pop(name) for name in ("checkpoint", "resume") if name in arguments}
    return make(kind, **arguments).fit(*FITS[kind][2], **options)


def interrupted(path, epoch, kind="classifier", **arguments):
    """A fit that ends in this epoch, before it is kept; the estimator, as it is left."""
    estimator = make(kind, callbacks=interrupt_in(epoch), **arguments)
    with pytest.raises(Interrupted):
        estimator.fit(*FITS[kind][2], checkpoint=path)
    return estimator


def state(estimator):
    """All that a fit leaves, moments and random state too."""
    optimizer = estimator._optimizer
    arrays = estimator._network.parameters, optimizer.first, optimizer.second
    return [array.tobytes() for array in arrays] + [
        optimizer.n_steps, estimator._rng.bit_generator.state, estimator.loss_curve_, estimator.grad_norm_curve_,
        repr(estimator.validation_scores_), estimator.stop_reason_, estimator.n_iter_,
    ]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit"


# ---- the same bits --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("kind", FITS)
def test_a_resumed_fit_ends_as_if_it_had_not_been_interrupted(path, kind, solver):
    whole = fit(kind, solver=solver)
    left = interrupted(path, 3, kind, solver=solver)
    assert left.stop_reason_ == "interrupted"
    assert lstmfast.load(path).n_iter_ == 2
    resumed = fit(kind, solver=solver, checkpoint=path, resume=True)
    assert state(resumed) == state(whole)
    assert state(resumed) != state(left)


@pytest.mark.parametrize(
    ("kind", "epoch"),
    [*(("classifier", epoch) for epoch in range(1, 7)), ("regressor", 4), ("tagger", 4), ("forecaster", 4),
     ("language model", 4), ("recommender", 4), ("translator", 4), ("autoencoder", 4)],
)  # fmt: skip
def test_early_stopping(path, kind, epoch):
    """The best parameters, the score to beat and the epochs since; whatever they are when the fit is interrupted."""
    arguments = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 6, "learning_rate_init": 0.1}
    interrupted(path, epoch, kind, **arguments)
    assert state(fit(kind, **arguments, checkpoint=path, resume=True)) == state(fit(kind, **arguments))


def test_the_patience_of_early_stopping_is_kept(path):
    """Stopped in the same epoch: those without an improvement before the interruption count."""
    arguments = {"early_stopping": True, "n_iter_no_change": 3, "learning_rate_init": 0.3, "max_iter": 30}
    whole = fit(**arguments)
    assert whole.stop_reason_ == "early_stopping"
    interrupted(path, whole.n_iter_, **arguments)
    assert state(fit(**arguments, checkpoint=path, resume=True)) == state(whole)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle", "invscaling", "adaptive"])
@pytest.mark.parametrize("kind", ["regressor", "language model"])
def test_schedules(path, kind, schedule):
    arguments = {"learning_rate": schedule, "max_iter": 7}
    if schedule == "adaptive":
        arguments |= {"tol": 10.0, "n_iter_no_change": 2}
    rates = {"whole": [], "resumed": []}
    whole = fit(kind, **arguments, callbacks=lambda info: rates["whole"].append(info.learning_rate))
    interrupted(path, 5, kind, **arguments)
    resumed = fit(
        kind, **arguments, callbacks=lambda info: rates["resumed"].append(info.learning_rate), checkpoint=path,
        resume=True,
    )  # fmt: skip
    assert rates["resumed"] == rates["whole"][4:]
    assert (rates["resumed"][0] == rates["whole"][0]) == (schedule == "constant")
    assert state(resumed) == state(whole)


@pytest.mark.parametrize("epochs", [(1, 2, 3, 4, 5), (2, 2, 2, 4), (5, 5)])
def test_many_interruptions(path, epochs):
    for epoch in epochs:
        estimator = make(callbacks=interrupt_in(epoch))
        with pytest.raises(Interrupted):
            estimator.fit(*FITS["classifier"][2], checkpoint=path, resume=True)
    assert state(fit(checkpoint=path, resume=True)) == state(fit())


@pytest.mark.parametrize(
    "arguments",
    [
        {"dtype": "float64"}, {"shuffle": False}, {"bidirectional": True, "hidden_layer_sizes": (4, 3)},
        {"batch_size": 100}, {"batch_size": 1, "max_iter": 3}, {"class_weight": "balanced"},
        {"class_weight": {"no": 2}}, {"max_iter": 3}, {"hidden_layer_sizes": np.array([4])},
    ],
    ids=str,
)  # fmt: skip
def test_other_arguments(path, arguments):
    """Classes, weights and sizes have to be found equal in the file, whatever they were given as."""
    interrupted(path, 3, **arguments)
    assert state(fit(**arguments, checkpoint=path, resume=True)) == state(fit(**arguments))


def test_validation_data_and_weights(path):
    options = {"sample_weight": np.arange(24), "X_val": RAGGED[:5], "y_val": LABELS[:5]}
    whole = make().fit(RAGGED, LABELS, **options)
    with pytest.raises(Interrupted):
        make(callbacks=interrupt_in(4)).fit(RAGGED, LABELS, **options, checkpoint=path)
    assert state(make().fit(RAGGED, LABELS, **options, checkpoint=path, resume=True)) == state(whole)


@pytest.mark.parametrize("score", [-np.inf, np.inf, np.nan])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_scores_that_are_not_finite(path, monkeypatch, score, early_stopping):
    """JSON has no word for them."""
    monkeypatch.setattr(LSTMRegressor, "_validation_score", lambda *args: score)
    options = {"X_val": RAGGED[:3], "y_val": NUMBERS[:3]}
    whole = make("regressor", early_stopping=early_stopping).fit(RAGGED, NUMBERS, **options)
    interrupting = make("regressor", early_stopping=early_stopping, callbacks=interrupt_in(3))
    with pytest.raises(Interrupted):
        interrupting.fit(RAGGED, NUMBERS, **options, checkpoint=path)
    resumed = make("regressor", early_stopping=early_stopping).fit(
        RAGGED, NUMBERS, **options, checkpoint=path, resume=True
    )
    assert state(resumed) == state(whole)
    whole.save(path)
    assert repr(lstmfast.load(path).validation_scores_) == repr([score] * 5)


def test_a_pretrained_start_with_a_frozen_layer(path):
    arguments = {"pretrained": fit(), "n_frozen_layers": 1}
    interrupted(path, 3, **arguments)
    assert state(fit(**arguments, checkpoint=path, resume=True)) == state(fit(**arguments))


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(7)], ids=str)
def test_random_states_without_a_number(path, random_state):
    """What was drawn from them stands in the file: the held-out sequences, the weights, the order."""
    twin = random_state and np.random.RandomState(7)
    interrupted(path, 3, random_state=random_state, early_stopping=True)
    copy = shutil.copy(path, f"{path}.copy")
    first, second = (
        state(fit(random_state=None, early_stopping=True, checkpoint=name, resume=True)) for name in (path, copy)
    )
    assert first == second
    if twin is not None:
        assert first == state(fit(random_state=twin, early_stopping=True))


@pytest.mark.parametrize(("data", "embedding_dim"), [(RAGGED, None), (TOKENS, 4)])
def test_divergence_after_resuming(path, data, embedding_dim):
    """The parameters that it goes back to are those from before the interruption, rows of a table too."""

    def diverge(**options):
        estimator = make(
            "regressor", pooling="last", conv_layers=(), embedding_dim=embedding_dim, solver="sgd", clip_norm=None,
            learning_rate_init=1e6, batch_size=24, max_iter=30,
        )  # fmt: skip
        with pytest.warns(match="diverged"):
            return estimator.fit(data, NUMBERS, **options)

    whole = diverge(checkpoint=path)
    assert lstmfast.load(path).n_iter_ == whole.n_iter_ > 1
    assert state(diverge(checkpoint=path, resume=True)) == state(whole) == state(diverge())


def test_in_another_process(path):
    interrupted(path, 3)
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import test_checkpoint as t\n"
        "model = t.fit(checkpoint=sys.argv[1], resume=True); model.save(sys.argv[1] + '.end')"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(lstmfast.__file__).parents[1])}
    subprocess.run([sys.executable, "-B", "-c", code, path, Path(__file__).parent], check=True, env=environment)
    end = lstmfast.load(f"{path}.end")
    assert end._network.parameters.tobytes() == fit()._network.parameters.tobytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_processes():
    script = Path(__file__).parents[1] / "tools/kill_resume.py"
    environment = os.environ | {"PYTHONPATH": str(Path(lstmfast.__file__).parents[1])}
    command = [sys.executable, "-B", script, "--kills", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kills, 2 ends bit-identical" in done.stdout


# ---- what a resumed fit is ------------------------------------------------------------------------------------------
def test_without_a_file_the_fit_starts_anew(path):
    assert state(fit(checkpoint=path, resume=True)) == state(fit())


def test_a_finished_fit_comes_back(path):
    whole = fit(checkpoint=path)
    before = path.read_bytes()
    seen = []
    resumed = fit(checkpoint=path, resume=True, callbacks=seen.append)
    assert state(resumed) == state(whole)
    assert seen == []
    assert path.read_bytes() == before


def test_a_fit_that_a_callback_stopped_has_ended(path):
    whole = fit(checkpoint=path, callbacks=lambda info: info.epoch == 2)
    assert state(fit(checkpoint=path, resume=True)) == state(whole)


@pytest.mark.parametrize("schedule", ["constant", "adaptive", "invscaling"])
def test_more_epochs(path, schedule):
    arguments = {"learning_rate": schedule, "n_iter_no_change": 1, "tol": 0.1}
    fit(**arguments, max_iter=3, checkpoint=path)
    assert state(fit(**arguments, max_iter=7, checkpoint=path, resume=True)) == state(fit(**arguments, max_iter=7))


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_no_more_epochs_where_the_schedule_depends_on_them(path, schedule):
    fit(learning_rate=schedule, max_iter=3, checkpoint=path)
    with pytest.raises(ValueError, match="max_iter is 4, but was 3"):
        fit(learning_rate=schedule, max_iter=4, checkpoint=path, resume=True)


def test_fewer_epochs_than_there_were(path):
    fit(checkpoint=path)
    with pytest.raises(ValueError, match="max_iter is 4, but it is 5 epochs old"):
        fit(max_iter=4, checkpoint=path, resume=True)


def test_a_fit_that_ran_out_of_time_goes_on(path):
    """An epoch that was cut short is not kept."""
    stopped = fit(checkpoint=path, max_time=1e-9)
    assert (stopped.stop_reason_, stopped.n_iter_) == ("max_time", 1)
    assert lstmfast.load(path).n_iter_ == 0
    assert state(fit(checkpoint=path, resume=True)) == state(fit())


def test_warm_start(path):
    """Resumed in the estimator that was interrupted."""
    estimator = interrupted(path, 3, warm_start=True)
    estimator.set_params(callbacks=None).fit(*FITS["classifier"][2], checkpoint=path, resume=True)
    assert state(estimator) == state(fit())


def test_what_may_differ(path):
    interrupted(path, 3, n_jobs=1)
    assert state(fit(n_jobs=2, max_time=1e6, callbacks=print, warm_start=True, checkpoint=path, resume=True)) == state(
        fit()
    )


@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_goes_on(path, capsys, verbose):
    interrupted(path, 3)
    capsys.readouterr()
    fit(verbose=verbose, checkpoint=path, resume=True)
    out, err = capsys.readouterr()
    if verbose == 2:
        assert [line.split(":")[0] for line in out.splitlines()] == ["epoch 3/5", "epoch 4/5", "epoch 5/5"]
    else:
        assert "2.0/5 epochs" in err
        assert err.rstrip().splitlines()[-1].count("5.0/5 epochs") == 1


def test_a_forecaster_has_its_intervals_again(path):
    interrupted(path, 3, "forecaster")
    with pytest.raises(ValueError, match="there are 0"):
        lstmfast.load(path).predict_interval(coverage=0.5)
    resumed, whole = fit("forecaster", checkpoint=path, resume=True), fit("forecaster")
    assert np.array_equal(resumed.predict_interval(coverage=0.5), whole.predict_interval(coverage=0.5))


# ---- the files ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", FITS)
def test_a_checkpoint_is_a_model(path, kind):
    """That of its epoch, and the one before has that before."""
    interrupted(path, 4, kind)
    for name, epochs in ((path, 3), (f"{path}.previous", 2)):
        model = lstmfast.load(name)
        assert type(model) is FITS[kind][0]
        assert model._network.parameters.tobytes() == fit(kind, max_iter=epochs)._network.parameters.tobytes()
    assert sorted(os.listdir(path.parent)) == ["fit", "fit.previous"]


def test_with_early_stopping_it_is_the_best_model(path):
    arguments = {"early_stopping": True, "learning_rate_init": 0.3, "n_iter_no_change": 4}
    left = interrupted(path, 5, **arguments)
    scores = lstmfast.load(path).validation_scores_
    assert np.argmax(scores) < 3  # else this test would see nothing
    assert lstmfast.load(path)._network.parameters.tobytes() == left._network.parameters.tobytes()


def test_the_runtime_reads_it_too(path):
    model = fit(checkpoint=path)
    assert runtime.load(path).predict_proba(RAGGED).tobytes() == model.predict_proba(RAGGED).tobytes()


def test_the_start_is_kept_too(path):
    """A kill in the first epoch does not lose the seed."""
    interrupted(path, 1, random_state=None)
    assert lstmfast.load(path).n_iter_ == 0
    assert os.listdir(path.parent) == ["fit"]


def test_a_new_fit_leaves_nothing_of_an_old_one(path):
    fit(checkpoint=path)
    interrupted(path, 1, random_state=1)
    assert os.listdir(path.parent) == ["fit"]
    assert state(fit(random_state=1, checkpoint=path, resume=True)) == state(fit(random_state=1))


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere/fit")
    interrupted(link, 4)
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["fit", "fit.previous"]
    assert state(fit(checkpoint=link, resume=True)) == state(fit())


def test_a_fit_without_a_checkpoint_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit()
    assert os.listdir(tmp_path) == []


# ---- faults ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "text", "model", "missing"])
def test_a_damaged_file_gives_way_to_the_one_before(path, damage):
    interrupted(path, 4)
    data = bytearray(path.read_bytes())
    if damage == "missing":  # as if killed between the two steps of a save
        path.unlink()
    elif damage == "model":
        fit(max_iter=1).save(path)
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"empty": b"", "cut": data[:-8], "bit": data, "text": b"to do"}[damage])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resumed = fit(checkpoint=path, resume=True)
    assert state(resumed) == state(fit())
    assert len(caught) == (damage != "missing")
    assert all(f"{path}: " in str(each.message) and f"{path}.previous" in str(each.message) for each in caught)
    assert all(each.filename == __file__ for each in caught)
    assert lstmfast.load(f"{path}.previous").n_iter_ == 4  # the damaged one did not take its place


def test_a_damaged_file_is_not_lost_before_there_is_another(path):
    """Killed right after falling back: the good one is still there."""
    interrupted(path, 4)
    path.write_bytes(b"")
    estimator = make(callbacks=interrupt_in(3))
    with pytest.warns(match="the file is empty"), pytest.raises(Interrupted):
        estimator.fit(*FITS["classifier"][2], checkpoint=path, resume=True)
    with pytest.warns(match="the file is empty"):
        assert state(fit(checkpoint=path, resume=True)) == state(fit())


@pytest.mark.parametrize("content", [b"", b"to do: water the plants\n", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(100)])
def test_a_file_of_another_kind(path, content):
    """It is refused, and stays."""
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match="not an lstmfast model"):
        fit(checkpoint=path, resume=True)
    assert path.read_bytes() == content


def test_a_saved_model(path):
    fit().save(path)
    with pytest.raises(ModelFormatError, match="a model without the state of its training"):
        fit(checkpoint=path, resume=True)


def test_both_files_damaged(path):
    interrupted(path, 4)
    for name in (path, Path(f"{path}.previous")):
        name.write_bytes(name.read_bytes()[:-1])
    with pytest.raises(ModelFormatError, match=re.escape(f"{path}: checksum")):
        fit(checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"hidden_layer_sizes": (4, 3)}, r"hidden_layer_sizes is \[4, 3\], but was \[5\]"),
        ({"solver": "sgd"}, "solver is 'sgd', but was 'adam'"),
        ({"alpha": 0.1, "dropout": 0.5}, r"alpha is 0.1, but was 0.0001; dropout is 0.5, but was 0.2"),
        ({"random_state": 1}, "random_state is 1, but was 0"),
        ({"dtype": "float64"}, "dtype is 'float64', but was 'float32'"),
        ({"batch_size": 6}, "batch_size is 6, but was 7"),
        ({"learning_rate": "cosine"}, "learning_rate is 'cosine', but was 'constant'"),
        ({"bidirectional": True}, "bidirectional is True, but was False"),
        ({"early_stopping": True}, "early_stopping is True, but was False"),
        ({"class_weight": "balanced"}, "class_weight is 'balanced', but was None"),
    ],
    ids=str,
)
def test_other_arguments_are_refused(path, changes, match):
    before = interrupted(path, 3)
    files = path.read_bytes()
    other = make(**changes)
    with pytest.raises(ValueError, match=f"a checkpoint of another fit: .*{match}"):
        other.fit(*FITS["classifier"][2], checkpoint=path, resume=True)
    assert not hasattr(other, "_network")
    before.set_params(callbacks=None, **changes)
    kept = state(before)
    with pytest.raises(ValueError, match="another fit"):
        before.fit(*FITS["classifier"][2], checkpoint=path, resume=True)
    assert state(before) == kept
    assert path.read_bytes() == files


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        ([x + 1 for x in RAGGED], LABELS, "the data, their weights or the validation data are others"),
        (RAGGED[::-1], LABELS, "the data"),
        (RAGGED[:-1], LABELS[:-1], "the data"),
        (RAGGED, np.roll(LABELS, 1), "the data"),
        (RAGGED, np.where(LABELS == "no", "nein", LABELS), "classes is"),
        (RAGGED, np.where(LABELS == "no", "yes", LABELS), "n_outputs is 2, but was 3"),
        ([x[:, :2] for x in RAGGED], LABELS, "n_features is 2, but was 3"),
        ([x[:1] for x in RAGGED], LABELS, "the data"),
    ],
)
def test_other_data_are_refused(path, X, y, match):
    interrupted(path, 3)
    with pytest.raises(ValueError, match=f"a checkpoint of another fit: .*{match}"):
        make().fit(X, y, checkpoint=path, resume=True)


@pytest.mark.parametrize("options", [{"sample_weight": np.arange(24)}, {"X_val": RAGGED[:5], "y_val": LABELS[:5]}])
def test_other_weights_and_validation_data_are_refused(path, options):
    interrupted(path, 3)
    with pytest.raises(ValueError, match="the data, their weights or the validation data are others"):
        make().fit(RAGGED, LABELS, **options, checkpoint=path, resume=True)


@pytest.mark.parametrize("kind", FITS)
def test_the_checkpoint_of_another_estimator_is_refused(path, kind):
    other = "regressor" if kind != "regressor" else "classifier"
    interrupted(path, 3, other)
    names = [FITS[each][0].__name__ for each in (kind, other)]
    with pytest.raises(ValueError, match="estimator is '{}', but was '{}'".format(*names)):
        fit(kind, checkpoint=path, resume=True)


@pytest.mark.parametrize("kind", ["language model", "recommender", "translator", "forecaster", "autoencoder"])
def test_other_data_of_other_estimators_are_refused(path, kind):
    interrupted(path, 3, kind)
    data = [part[:-1] for part in FITS[kind][2]]
    with pytest.raises(ValueError, match="another fit"):
        make(kind).fit(*data, checkpoint=path, resume=True)


def test_resume_needs_a_checkpoint():
    with pytest.raises(ValueError, match="resume=True needs a checkpoint"):
        fit(resume=True)


@pytest.mark.parametrize("checkpoint", [5, True, b"fit", ["fit"]])
def test_a_checkpoint_is_a_path(checkpoint):
    with pytest.raises(TypeError, match="checkpoint must be a str or path-like"):
        fit(checkpoint=checkpoint)


@pytest.mark.parametrize("where", ["missing/fit", "."])
@pytest.mark.parametrize("kind", ["classifier", "transformer", "forecaster"])
def test_an_unwritable_place_is_an_error_before_training(tmp_path, kind, where):
    estimator = fit(kind)
    before = state(estimator)
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        estimator.set_params(random_state=1).fit(*FITS[kind][2], checkpoint=tmp_path / where)
    assert state(estimator) == before


def test_a_disk_that_fills_up_while_training(path, monkeypatch):
    """The error comes out, the estimator has what it has learned, and the files before are whole."""

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(info):
        if info.epoch == 3:
            monkeypatch.setattr(persistence.os, "fsync", full)

    estimator = make(callbacks=fill)
    with pytest.raises(OSError, match="No space left"):
        estimator.fit(*FITS["classifier"][2], checkpoint=path)
    monkeypatch.undo()
    assert (estimator.n_iter_, estimator.stop_reason_) == (3, "interrupted")
    assert state(fit(checkpoint=path, resume=True)) == state(fit())


FORGED = {
    "epoch": -1, "step": 2.5, "stale": True, "optimizer_steps": "many", "seed": None, "rate_divisor": 0, "best": "good",
    "generator": {"bit_generator": "MT19937"},
}  # fmt: skip


@pytest.mark.parametrize("field", [*FORGED, "missing", "unknown", "epochs", "shape", "dtype", "array", "nan"])
def test_a_forged_checkpoint(path, field):
    interrupted(path, 3)
    Path(f"{path}.previous").unlink()
    metadata, arrays = read_model(path)
    state = metadata["checkpoint"]
    if field in FORGED:
        state[field] = FORGED[field]
    elif field == "missing":
        del state["seed"]
    elif field == "unknown":
        state["colour"] = 1
    elif field == "epochs":
        state["epoch"] = 4
    elif field == "array":
        del arrays["checkpoint.sound"]
    elif field == "nan":
        arrays["checkpoint.sound"][0] = np.nan
    else:
        first = arrays["checkpoint.first"]
        arrays["checkpoint.first"] = first[:-1] if field == "shape" else first.astype(np.float64)
    write_model(path, json.loads(json.dumps(metadata)), arrays)
    with pytest.raises(ModelFormatError, match=str(path)):
        fit(checkpoint=path, resume=True)
