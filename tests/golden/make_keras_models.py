"""Write keras_models.npz and keras_model.keras: weights, configurations and predictions of Keras models.

python make_keras_models.py     (needs keras with a backend; the tests that read keras_models.npz need numpy only)
"""

import os
from importlib.metadata import version
from pathlib import Path

import numpy as np

# Lists of layers: their class and its arguments; a Bidirectional holds one such pair. 2 features.
CASES = {
    "lstm": [("LSTM", {"units": 3}), ("Dense", {"units": 2})],
    "lstm_activations": [
        ("LSTM", {"units": 3, "activation": "softsign", "recurrent_activation": "hard_sigmoid"}),
        ("Dense", {"units": 3, "activation": "softmax"}),
    ],
    "lstm_stack": [
        ("LSTM", {"units": 3, "return_sequences": True}),
        ("Dropout", {"rate": 0.5}),
        ("LSTM", {"units": 4, "return_sequences": True}),
        ("GlobalMaxPooling1D", {}),
        ("Dense", {"units": 3, "activation": "relu"}),
        ("Dense", {"units": 1, "activation": "sigmoid"}),
    ],
    "lstm_below_bidirectional": [
        ("LSTM", {"units": 3, "return_sequences": True}),
        ("Bidirectional", ("LSTM", {"units": 2})),
        ("Dense", {"units": 2}),
    ],
    "lstm_above_bidirectional": [
        ("Bidirectional", ("LSTM", {"units": 3, "return_sequences": True})),
        ("LSTM", {"units": 2, "go_backwards": True}),
        ("Dense", {"units": 2, "activation": "sigmoid"}),
    ],
    "gru": [("GRU", {"units": 3, "activation": "elu"}), ("Dense", {"units": 2})],
    "gru_no_bias": [("GRU", {"units": 3, "use_bias": False}), ("Dense", {"units": 2, "use_bias": False})],
    "gru_reset_before": [
        ("Bidirectional", ("GRU", {"units": 3, "reset_after": False, "return_sequences": True})),
        ("GlobalAveragePooling1D", {}),
        ("Dense", {"units": 2, "activation": "linear"}),
        ("Activation", {"activation": "softmax"}),
    ],
    "rnn": [("SimpleRNN", {"units": 4, "activation": "relu"})],
    "rnn_backwards": [("SimpleRNN", {"units": 4, "go_backwards": True, "activation": "sigmoid"})],
}
IN_A_FILE = "lstm_stack"  # with two layers of a class


def make_model(layers, functional=False):
    """A keras model in float64, Sequential or functional, with large random weights."""
    import keras  # here, because pytest imports this file in search of doctests

    keras.config.set_floatx("float64")  # predict rounds its input to this

    def make(kind, arguments):
        if kind == "Bidirectional":
            return keras.layers.Bidirectional(make(*arguments))
        return getattr(keras.layers, kind)(**arguments)

    layers = [make(*layer) for layer in layers]
    x = keras.Input((None, 2))
    if functional:
        y = x
        for layer in layers:
            y = layer(y)
        model = keras.Model(x, y)
    else:
        model = keras.Sequential([x, *layers])
    rng = np.random.default_rng(len(layers))
    model.set_weights([rng.normal(size=array.shape) for array in model.get_weights()])
    return model


def main():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arrays = {}
    for seed, (name, layers) in enumerate(CASES.items()):
        model = make_model(layers, functional=seed % 2 == 1)
        x = np.random.default_rng(seed).normal(size=(3, 5, 2))
        arrays |= {f"{name}/weights/{k}": array for k, array in enumerate(model.get_weights())}
        arrays |= {
            f"{name}/config": np.array(model.to_json()),
            f"{name}/x": x,
            f"{name}/y": model.predict(x, verbose=0),
        }
        if name == IN_A_FILE:
            model.save(Path(__file__).with_name("keras_model.keras"))
    path = Path(__file__).with_name("keras_models.npz")
    np.savez_compressed(path, **arrays)
    versions = ", ".join(f"{name} {version(name)}" for name in ("keras", "numpy"))
    print(f"{path}: {len(CASES)} cases, {path.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
