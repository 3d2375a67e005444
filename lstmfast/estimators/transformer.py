"""LSTMTransformer."""

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from ..concurrency import of_one_fit
from ..config import effective_n_threads
from ..explanations import feature_score, linear_score, on_vectors
from ..thread_choice import ThreadChoice
from .autoencoder import AutoencodingEstimator
from .base import RecurrentEstimator
from .checkpoint import Checkpoint
from .classifier import LSTMClassifier, check_labels
from .explaining import Attending, check_column
from .regressor import LSTMRegressor
from .sharing import shares_parameters, shares_texts

# What it learns, and who learns that. Their errors speak of what the user called.
_LEARNERS = {
    task: type("LSTMTransformer", (learner,), {"__doc__": None})
    for task, learner in (
        ("classification", LSTMClassifier),
        ("regression", LSTMRegressor),
        ("reconstruction", AutoencodingEstimator),
    )
}


@shares_parameters
class LSTMTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Attending, RecurrentEstimator):
    """Turn sequences into vectors of equal size: features for any scikit-learn model, learned by an LSTM network.

    With targets y it learns what `LSTMClassifier` or `LSTMRegressor` would, and a sequence's features are what the
    output layer sees. Without, it is a sequence autoencoder (Srivastava et al. 2015): an encoder makes one vector of a
    sequence, its code, from which a decoder must write the sequence again, last step first; the code are the features.
    The decoder has the encoder's recurrent layers in opposite order, reads the code at every step, and has a linear
    layer on top; for tokens a softmax.

    Sequences may differ in length: they are neither padded nor cut, and the features of one do not depend on the
    others.

    Parameters
    ----------
    {parameters}
    dense_layer_sizes : int or tuple of int, default=()
        Units of relu layers after the pooling; the last ones are the features. Of an autoencoder these are linear. If
        there are none, there are as many features as the pooling has outputs.
    dropout : float in [0, 1), default=0.0
        Share of each layer's inputs set to 0 while training; one mask a sequence (Gal & Ghahramani 2016). Of an
        autoencoder the encoder's only; on its input it is a denoising one (Vincent et al. 2008).
    recurrent_dropout : float in [0, 1), default=0.0
        Likewise for the hidden state on its way to the next step.
    target_type : {"auto", "classification", "regression"} or None, default="auto"
        What y means: labels, or numbers. "auto": whichever scikit-learn's `type_of_target` finds; integers, and floats
        without a fraction, are labels. None: nothing, as if there were no y; for features without labels in a pipeline
        that is given some.

    Attributes
    ----------
    task_ : {"classification", "regression", "reconstruction"}
        What it has learned.
    {input_attributes}
    {attributes}

    See Also
    --------
    LSTMClassifier, LSTMRegressor : They have `transform` too, and predict.

    Notes
    -----
    Of an autoencoder `loss_` is the mean over all steps and features of the squared error, or over all tokens of the
    negative log-likelihood; `validation_scores_` are minus the same, without dropout or penalty, and a step of a
    sequence has the sequence's `sample_weight`. Features of different scales should be standardised first
    (`SequenceScaler`): the error is that of the largest otherwise. `layers_` has those of the decoder at its end.

    References
    ----------
    N. Srivastava, E. Mansimov and R. Salakhutdinov, "Unsupervised learning of video representations using LSTMs",
    ICML 2015.
    P. Vincent, H. Larochelle, Y. Bengio and P.-A. Manzagol, "Extracting and composing robust features with denoising
    autoencoders", ICML 2008.

    Examples
    --------
    Four numbers that stand for a wave of any length, learned without being told that there are two kinds:

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from lstmfast import LSTMTransformer
    >>> rng = np.random.default_rng(0)
    >>> slow = rng.random(200) < 0.5
    >>> X = [np.sin(np.arange(rng.integers(15, 25)) * (0.5 if s else 0.9) + rng.normal()) for s in slow]
    >>> waves = LSTMTransformer(16, dense_layer_sizes=4, max_iter=60, learning_rate_init=0.01, random_state=0)
    >>> waves.fit_transform(X).shape
    (200, 4)
    >>> labels = LogisticRegression().fit(waves.transform(X[:20]), slow[:20])
    >>> labels.score(waves.transform(X[20:]), slow[20:]) > 0.9
    True
    """

    _parameter_constraints = RecurrentEstimator._parameter_constraints | {
        "target_type": [StrOptions({"auto", "classification", "regression"}), None]
    }

    def __init__(self, *arguments, target_type="auto", **parameters):
        super().__init__(*arguments, **parameters)
        self.target_type = target_type

    # ---- fitting: what a learner does, with this estimator's arguments and state ----

    @shares_texts
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None, checkpoint=None, resume=False):
        """Learn features.

        Parameters
        ----------
        {sequences}
        y : array-like of shape (n,) or (n, n_outputs), default=None
            Targets, as `LSTMClassifier` or `LSTMRegressor` take them. None: X itself.
        {sample_weight}
        X_val, y_val : as X and y, default=None
            {validation}
        {checkpoint}

        {fitted}
        """
        kept = Checkpoint(checkpoint, resume)
        return self._change(lambda draft: draft._fit(X, y, sample_weight, X_val, y_val, kept))

    def _fit(self, X, y, sample_weight, X_val, y_val, checkpoint):
        self._check_arguments()
        task = self._task_of(y)
        going_on = self.warm_start and hasattr(self, "_network")
        if going_on and task != self.task_:
            raise ValueError(
                f"the weights to go on from were fitted for {self.task_}, not {task}; fit with warm_start=False to "
                "start anew"
            )
        if task == "reconstruction":
            y, y_val = X, X_val
        learner = self._learner(task, fitted=going_on)
        checkpoint.whole = lambda learner: self._take_over(learner, task)
        try:
            learner._fit(X, y, sample_weight, X_val, y_val, checkpoint)
        finally:
            self._take_over(learner, task)

    def _task_of(self, y):
        if y is None and self.target_type in ("classification", "regression"):
            raise ValueError(f"target_type={self.target_type!r} requires y to be passed, but the target y is None.")
        if y is None or self.target_type is None:
            return "reconstruction"
        if self.target_type != "auto":
            return self.target_type
        kind = type_of_target(check_labels(y), input_name="y")
        return "regression" if kind.startswith("continuous") else "classification"

    def _learner(self, task, fitted=True):
        """The estimator that learns this, with the arguments of this one; with `fitted` also its state."""
        arguments = self.get_params(deep=False)
        del arguments["target_type"]
        learner = _LEARNERS[task](**arguments)
        if fitted:
            vars(learner).update(_state(self))
        return learner

    def _take_over(self, learner, task):
        vars(self).update(_state(learner), task_=task)
        return self

    def _network_class_of(self, fitted):
        return _LEARNERS[fitted["task_"]]._network_class

    def _fitted(self):
        return {"task_": self.task_} | self._fitted_learner()._fitted()

    def _restore_fitted(self, fitted, network):
        fitted = dict(fitted)
        task = fitted.pop("task_")
        learner = self._learner(task)
        learner._restore_fitted(fitted, network)
        self._take_over(learner, task)

    # ---- using a fitted estimator ----

    def _fitted_learner(self):
        check_is_fitted(self)
        return self._learner(self.task_)

    @property
    def _n_features_out(self):
        return self._fitted_learner()._n_features_out

    @of_one_fit
    def transform(self, X):
        """Features of each sequence.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        features : ndarray of shape (n, d)
            A sequence's have the same bits alone and in any company.
        """
        return self._fitted_learner().transform(X)

    def _explained_sequences(self, X):
        return self._fitted_learner()._check_fitted_input(X)

    def _explained_scores(self, sequences, target):
        network = on_vectors(self._network, self._reading_stack)
        n_threads = effective_n_threads(self.n_jobs)
        hidden = self.task_ != "reconstruction"  # a code is the network's output
        score, threads = feature_score if hidden else linear_score, ThreadChoice(n_threads)
        features = self._network.outputs(sequences, hidden=hidden, n_threads=n_threads).astype(np.float64)
        if target is not None:
            n_features = features.shape[1]
            features[...] = np.arange(n_features) == check_column(target, n_features, "transform")
        for weights in features:
            yield score(network, weights, threads)

    @of_one_fit
    def reconstruct(self, X):
        """What the decoder makes of the features of X: how much of it they hold.

        Parameters
        ----------
        X : sequences
            As in `fit`.

        Returns
        -------
        X_reconstructed : ndarray or list of ndarrays, shaped as X
            Of tokens, the most probable one at each step.

        Raises
        ------
        ValueError
            If it was fitted with targets.
        """
        learner = self._fitted_learner()
        if self.task_ != "reconstruction":
            raise ValueError(
                f"this transformer was fitted for {self.task_}, and has nothing to reconstruct X with; fit it without "
                "y, or with target_type=None"
            )
        return learner.reconstruct(X)

    @of_one_fit
    def score(self, X, y=None, sample_weight=None):
        """How well it does what it has learned; higher is better.

        Parameters
        ----------
        X : sequences
            As in `fit`.
        y : as in `fit`, default=None
            Targets; not looked at by an autoencoder.
        sample_weight : array-like of shape (n,), default=None
            Weights of the sequences.

        Returns
        -------
        score : float
            Of an autoencoder, minus the mean squared error of all steps and features; of tokens, the mean
            log-likelihood. Else the accuracy, or R2.
        """
        learner = self._fitted_learner()
        if y is None and self.task_ != "reconstruction":
            raise ValueError(f"this transformer was fitted for {self.task_}: score requires y to be passed")
        return learner.score(X, y, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _state(estimator):
    """What an estimator has besides its arguments."""
    arguments = estimator.get_params(deep=False)
    return {name: value for name, value in vars(estimator).items() if name not in arguments}
