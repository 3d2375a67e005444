"""Transfer learning: a network starts from the layers of another one."""

import numpy as np

# What both networks must agree in for the weights of the one to mean the same in the other.
_SHARED = ("n_features", "n_tokens", "conv_layers", "cell", "activation", "recurrent_activation", "bidirectional")


def take_over(source, target):
    """Copy the layers of a trained network into another, from the lowest up; the output layer stays new.

    The embedding, the convolutions and the recurrent layers that both have; then, where the recurrent layers are the
    same, the attention of their pooling, and the hidden dense layers as far as their sizes agree.

    Parameters
    ----------
    source, target : Network

    Raises
    ------
    ValueError
        If the weights of the one have no place in the other, or if more layers are frozen than are taken over.
    """
    for name in _SHARED:
        there, here = source.config[name], target.config[name]
        if there != here:
            raise ValueError(f"pretrained has {name}={there}, which does not go with {name}={here}")
    sizes, wanted = source.config["hidden_layer_sizes"], target.config["hidden_layer_sizes"]
    n_shared = min(len(sizes), len(wanted))
    if sizes[:n_shared] != wanted[:n_shared]:
        raise ValueError(
            f"pretrained has hidden_layer_sizes={tuple(sizes)}, which must begin, or begin like, {tuple(wanted)}"
        )
    pairs = list(zip(source.stack.labelled(), target.stack.labelled(), strict=False))
    if target.config["n_frozen_layers"] > len(pairs):
        raise ValueError(
            f"n_frozen_layers={target.config['n_frozen_layers']}, but only {len(pairs)} layers come from pretrained"
        )
    taken = {label for (label, _), _ in pairs}
    names = {name for name in target.named_parameters() if name.split(".")[0] in taken}
    if sizes == wanted:
        names |= _above(source, target)
    there = source.named_parameters()
    for name, array in target.named_parameters().items():
        if name in names:
            array[...] = there[name]
    target.parameters_changed()


def _above(source, target):
    """Names of the parameters above the recurrent layers that can be taken over."""
    there, here = source.named_parameters(), target.named_parameters()
    if source.config["pooling"] != target.config["pooling"]:
        return set()
    names = {name for name in here if name.split(".")[0] == "pooling"}
    first = len(source.layers)
    for number in range(first, first + min(len(source.dense), len(target.dense)) - 1):
        of_layer = {f"{number}.weight", f"{number}.bias"}
        if any(np.shape(there[name]) != np.shape(here[name]) for name in of_layer):
            break
        names |= of_layer
    return names
