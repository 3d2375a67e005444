"""One signature for the arguments that all estimators share, and one text for what their docstrings share."""

import functools
import inspect
import re
import textwrap

PARAMETERS = """\
hidden_layer_sizes : int or tuple of int, default=(64,)
    Units of each recurrent layer, lowest first.
cell : str, default="lstm"
    "lstm"; a variant of it, "lstm-peephole", "lstm-coupled", "lstm-full-peephole", "lstm-gated-recurrence" or
    "lstm-cell-recurrent"; "gru", "gru-reset-before"; or "rnn". Their equations: docs/cells.md.
activation : {"tanh", "relu", "sigmoid", "identity", "softsign", "hard_tanh", "elu"}, default="tanh"
    Of the candidate and the cell state.
recurrent_activation : {"sigmoid", "hard_sigmoid"}, default="sigmoid"
    Of the gates; "rnn" has none.
bidirectional : bool, default=False
    Let a second set of units read each sequence backwards; a layer then has twice as many outputs.
pooling : {"last", "mean", "max", "attention"}, default="last"
    How the top recurrent layer's steps become one vector: its output after the last step (of a bidirectional layer,
    after the last step of each direction), the mean or maximum over steps, or a mean with learned weights (Yang et al.
    2016), which `attention` shows.
dense_layer_sizes : int or tuple of int, default=()
    Units of relu layers before the output.
conv_layers : tuple of (filters, width), default=()
    1-D convolutions with relu before the first recurrent layer, lowest first. They are causal: a filter sees a step and
    the width - 1 steps before it, so there are as many steps behind them, and live sequences can be streamed.
embedding_dim : int or None, default=None
    Not None: X holds tokens, integers from 0 on, and each is given a trained vector of this size.
embedding_weights : array-like of shape (n_tokens, embedding_dim) or None, default=None
    Vectors to start from. None: normal random ones, for as many tokens as X holds in `fit`.
dropout : float in [0, 1), default=0.0
    Share of each layer's inputs set to 0 while training; one mask a sequence (Gal & Ghahramani 2016).
recurrent_dropout : float in [0, 1), default=0.0
    Likewise for the hidden state on its way to the next step.
alpha : float, default=1e-4
    Strength of the weight penalty ``alpha * (l1_ratio * sum |w| + (1 - l1_ratio) * sum w^2 / 2)``; biases are free.
l1_ratio : float in [0, 1], default=0.0
    Mixture of L1 and L2 in the penalty.
solver : {"adam", "adamw", "sgd", "rmsprop"}, default="adam"
    Optimiser. With "adamw" the L2 penalty is decoupled weight decay.
learning_rate : {"constant", "cosine", "one_cycle", "adaptive", "invscaling"}, default="constant"
    Schedule, step by step over `max_iter` epochs. "cosine" falls to 0; "one_cycle" rises for 30 % of the steps, then
    falls; "invscaling" divides by the square root of the step; "adaptive" divides by 5 each time training stalls,
    until the rate is below 1e-6.
learning_rate_init : float, default=1e-3
    Learning rate that the schedule starts from ("one_cycle": its peak).
momentum : float in [0, 1), default=0.9
    Of "sgd".
nesterovs_momentum : bool, default=True
    Of "sgd".
beta_1, beta_2 : float in [0, 1), default=0.9, 0.999
    Decay of the moments in "adam" and "adamw"; beta_2 also that of the squares in "rmsprop".
epsilon : float, default=1e-8
    Added to the denominator in "adam", "adamw" and "rmsprop".
clip_norm : float or None, default=1.0
    Largest norm of the gradient over all parameters; a longer one is scaled down to it. None: no limit.
batch_size : int, default=32
    Sequences a gradient step; all of them if there are fewer.
max_iter : int, default=200
    Most passes over the data (epochs).
tol : float, default=1e-4
    What counts as better than the best so far, in units of the loss (or of the validation score with
    `early_stopping`). As in scikit-learn, an endless row of smaller improvements counts as none.
n_iter_no_change : int, default=10
    Epochs without anything better after which training stops.
shuffle : bool, default=True
    Visit the sequences in a new order each epoch.
max_time : float or None, default=None
    Seconds that `fit` may train; it ends after the batch that reaches them.
early_stopping : bool, default=False
    Stop when the validation score, instead of the training loss, stops getting better, and keep the best weights.
validation_fraction : float in (0, 1), default=0.1
    Share of the training data held out for `early_stopping` where `fit` is given no validation data.
pretrained : fitted estimator, str, path-like or None, default=None
    Start from the layers of another estimator, or of a file of one: all that both have below the output layer, which
    starts anew, so the classes may be others. Estimators that learn a vocabulary take all from one of their own kind.
n_frozen_layers : int, default=0
    How many of the lowest layers are kept as they are. An embedding counts as one, then come convolutions, then
    recurrent layers. Frozen layers cost no backward pass.
warm_start : bool, default=False
    Let `fit` go on from the weights of the fit before.
random_state : int, RandomState instance or None, default=None
    Seed of weights, order, dropout and validation split. The same seed gives the same bits on any number of threads.
verbose : int, default=0
    0: silent. 1: a progress bar. 2: a line an epoch.
n_jobs : int or None, default=None
    Threads. None: the environment variable OMP_NUM_THREADS, else all CPUs; -1: all CPUs.
dtype : {"float32", "float64"}, default="float32"
    Precision of weights and arithmetic.
callbacks : callable or list of callables, default=None
    Each is called after each epoch with an object that has the attributes epoch, loss, grad_norm, validation_score,
    learning_rate and elapsed (seconds). One that returns True stops the fit."""

INPUT_ATTRIBUTES = """\
n_features_in_ : int
    Features of a step; for two-dimensional X, its columns.
feature_names_in_ : ndarray of shape (`n_features_in_`,)
    Column names of X, where it was a data frame."""

ATTRIBUTES = """\
layers_ : list
    The fitted layers of `lstmfast.layers`, lowest first: Conv1D, then LSTM, GRU or RNN, AttentionPooling, Dense; no
    Embedding.
n_layers_ : int
    Their number.
n_outputs_ : int
    Outputs of the network.
n_parameters_ : int
    Weights and biases.
n_iter_ : int
    Epochs trained, whole ones.
loss_, best_loss_ : float
    Training loss of the last epoch, and the smallest; mean over the epoch's batches, penalty included.
loss_curve_, grad_norm_curve_ : list of float
    Training loss and mean norm of the gradient (before clipping), for each epoch.
validation_scores_, best_validation_score_ : list of float, float or None
    Score on the validation data after each epoch; None without validation data.
stop_reason_ : {"tol", "max_iter", "max_time", "early_stopping", "callback", "diverged", "interrupted"}
    Why training ended; "interrupted" also after an error in a callback."""

SEQUENCES = """\
X : sequences
    ndarray of shape (n, T, F); or a list of arrays of shape (T_i, F), or (T_i,) with one feature; or anything
    two-dimensional of shape (n, T): n univariate series."""

SAMPLE_WEIGHT = """\
sample_weight : array-like of shape (n,), default=None
    Weights of the sequences; not negative, not all 0."""

VALIDATION = "Validation data. Scored after each epoch; with `early_stopping` they decide when to stop."

CHECKPOINT = """\
checkpoint : str or path-like, default=None
    File that keeps the fit as it is at its start and after each epoch: model, optimiser and random state. The one
    before is kept too, in a file with ".previous" at the end of its name. `lstmfast.load` reads either as a model:
    what the fit would have left, had it been interrupted then.
resume : bool, default=False
    Go on from the checkpoint, with the same data and arguments, and end with the very bits of a fit that was never
    interrupted. Without a file the fit starts anew; a fit that had come to its end is what comes back. n_jobs,
    verbose, callbacks and max_time may be others, and a fit that max_time ended goes on after its last whole epoch.
    So may max_iter, to train for longer, unless learning_rate is "cosine" or "one_cycle", which depend on it. A
    damaged file gives way to the one before, with a warning."""

FITTED = """\
Returns
-------
self : object
    Fitted estimator. If fit raises an error, the estimator is as it was before; after Ctrl-C it has the weights
    of the last whole batch, and with ``warm_start=True`` another fit goes on from there.

Raises
------
ValueError, TypeError
    If an argument is out of range or not as described, or the checkpoint is of another fit; the message says
    what is wrong."""

_TEXTS = {
    "input_attributes": INPUT_ATTRIBUTES, "attributes": ATTRIBUTES, "sequences": SEQUENCES,
    "sample_weight": SAMPLE_WEIGHT, "validation": VALIDATION, "checkpoint": CHECKPOINT, "fitted": FITTED,
}  # fmt: skip


def shares_texts(method):
    """Decorator for a method: a line ``{name}`` in its docstring becomes the shared text of that name."""
    method.__doc__ = _filled(method.__doc__, _TEXTS)
    return method


def _filled(docstring, texts):
    """A docstring with texts in the place of lines such as ``{name}``, indented like these."""
    return docstring and re.sub(  # absent under python -OO
        r"^( *)\{(\w+)\}$", lambda mark: textwrap.indent(texts[mark[2]], mark[1]), docstring, flags=re.MULTILINE
    )


def shares_parameters(cls=None, *, without=()):
    """Class decorator for an estimator whose ``__init__`` passes ``**parameters`` on to its base's.

    Its signature then names the base's arguments too, first, so that `get_params`, `clone` and help see them all, but
    those it goes `without`. Arguments of its own that may be positional come before these, which are then by keyword
    only. Its docstring shares texts as those of methods do, and ``{parameters}`` in it becomes that of the base's
    arguments, but for those that the docstring describes itself.
    """
    if cls is None:
        return functools.partial(shares_parameters, without=without)
    POSITIONAL, KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    _, *arguments = inspect.signature(cls.__init__).parameters.values()
    positional, own = ([each for each in arguments if each.kind is kind] for kind in (POSITIONAL, KEYWORD))
    original = cls.__init__
    base = next(base for base in cls.__mro__[1:] if "__init__" in vars(base))
    names = {parameter.name for parameter in positional + own} | set(without)
    itself, *inherited = [
        parameter for name, parameter in inspect.signature(base.__init__).parameters.items() if name not in names
    ]

    @functools.wraps(original)
    def __init__(self, *args, **parameters):
        for name in without:
            if name in parameters:
                raise TypeError(f"{type(self).__name__} has no argument {name!r}")
        original(self, *args, **parameters)

    if positional:
        inherited = [parameter.replace(kind=KEYWORD) for parameter in inherited]
    __init__.__signature__ = inspect.Signature([itself, *positional, *inherited, *own])
    cls.__init__ = __init__
    if cls.__doc__:  # absent under python -OO
        described = set(re.findall(r"^ *(\w+) :", cls.__doc__, flags=re.MULTILINE))
        left = {parameter.name for parameter in inherited} - described
        parameters = "\n".join(entry for names, entry in _entries(PARAMETERS) if names & left)
        cls.__doc__ = _filled(cls.__doc__, _TEXTS | {"parameters": parameters})
    return cls


def _entries(text):
    """Pairs (names, entry) of a numpydoc section."""
    for entry in re.split(r"\n(?! )", text):
        yield set(entry.split(" :")[0].split(", ")), entry
