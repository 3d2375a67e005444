"""PyTorch's worker."""

import warnings
from functools import cached_property

import numpy as np
import torch
from torch import nn

from .cases import CLIP_NORM, LEARNING_RATE, N_CLASSES, data, lengths, weights
from .worker import check_outputs, check_steps, check_training, serve


def set_weights(module, suffix, given):
    """Copy one direction's weights; PyTorch has two biases."""
    with torch.no_grad():
        getattr(module, f"weight_ih{suffix}").copy_(torch.from_numpy(given["kernel"]).T)
        getattr(module, f"weight_hh{suffix}").copy_(torch.from_numpy(given["recurrent_kernel"]).T)
        getattr(module, f"bias_ih{suffix}").copy_(torch.from_numpy(given["bias"]))
        getattr(module, f"bias_hh{suffix}").zero_()


def build_lstm(case, *, batch_first):
    """nn.LSTM with the case's weights."""
    lstm = nn.LSTM(
        case.inputs, case.hidden, case.layers, batch_first=batch_first, bidirectional=case.bidirectional
    )  # fmt: skip
    for i, directions in enumerate(weights(case)["layers"]):
        for given, suffix in zip(directions, (f"_l{i}", f"_l{i}_reverse"), strict=False):
            set_weights(lstm, suffix, given)
    return lstm


def without_onednn(call):
    """The same with PyTorch's own kernels."""

    def run(*arguments):
        torch._C._set_mkldnn_enabled(False)
        result = call(*arguments)
        torch._C._set_mkldnn_enabled(True)
        return result

    return run


def last_h(lstm, x):
    """h (B, H) after the last step."""
    return lstm(x)[1][0][-1]


class Sorted:
    """A case's ragged sequences, longest first, and h (B, H) after the last step of each."""

    def __init__(self, case):
        x, labels = data(case)
        self.order = np.argsort(-lengths(case), kind="stable")
        self.padded = torch.from_numpy(x[self.order]).transpose(0, 1).contiguous()
        self.labels, self.n_steps = (torch.from_numpy(array[self.order]) for array in (labels, lengths(case)))
        self.last, self.rows = self.n_steps - 1, torch.arange(case.batch)

    @cached_property
    def packed(self):
        """The steps without the padding."""
        return nn.utils.rnn.pack_padded_sequence(self.padded, self.n_steps)

    def by_packing(self, lstm, x):
        """nn.LSTM knows the lengths."""
        return last_h(lstm, x)

    def by_padding(self, lstm, x):
        """All steps, also those past the ends."""
        y, _ = lstm(x)
        return y[self.last, self.rows]


def training(case, threads):
    """nn.LSTM, batch-major."""
    torch.set_num_threads(threads)
    x, labels = (torch.from_numpy(array) for array in data(case))

    def build():
        return train(case, last_h, build_lstm(case, batch_first=True), x, labels)

    return {"nn.LSTM": lambda: checked(build()), "nn.LSTM without oneDNN": lambda: checked(without_onednn(build()))}


def ragged_training(case, threads):
    """Packed beforehand, and padded."""
    torch.set_num_threads(threads)
    given = Sorted(case)

    def packed():
        return train(case, given.by_packing, build_lstm(case, batch_first=False), given.packed, given.labels)

    def padded():
        return train(case, given.by_padding, build_lstm(case, batch_first=False), given.padded, given.labels)

    return {
        "packed": lambda: checked(packed()),
        "padded": lambda: checked(padded()),
        "padded, without oneDNN": lambda: checked(without_onednn(padded())),
    }


class Convolved(nn.LSTM):
    """nn.LSTM behind a causal convolution with relu; with `unfold` the convolution is one product of copied windows."""

    def __init__(self, case, unfold):
        filters, self.width = case.conv
        super().__init__(filters, case.hidden, batch_first=True)
        set_weights(self, "_l0", weights(case)["layers"][0][0])
        self.unfold, given = unfold, weights(case)
        kernel, bias = (torch.from_numpy(given[name]) for name in ("conv_kernel", "conv_bias"))
        # nn.Conv1d's layout is (filters, inputs, width), and so are the unfolded windows (inputs, width).
        self.conv_kernel, self.conv_bias = nn.Parameter(kernel.permute(2, 1, 0).contiguous()), nn.Parameter(bias)

    def forward(self, x):
        """y and state of x (B, T, I)."""
        if self.unfold:
            windows = nn.functional.pad(x, (0, 0, self.width - 1, 0)).unfold(1, self.width, 1).flatten(2)
            y = nn.functional.linear(windows, self.conv_kernel.flatten(1), self.conv_bias)
        else:
            x = nn.functional.pad(x.transpose(1, 2), (self.width - 1, 0))
            y = nn.functional.conv1d(x, self.conv_kernel, self.conv_bias).transpose(1, 2)
        return super().forward(nn.functional.relu(y))


def conv_training(case, threads):
    """nn.Conv1d's kernel, and windows that are copied for a product."""
    torch.set_num_threads(threads)
    x, labels = (torch.from_numpy(array) for array in data(case))

    def build(unfold):
        return train(case, last_h, Convolved(case, unfold), x, labels)

    return {
        "conv1d": lambda: checked(build(False)),
        "unfold": lambda: checked(build(True)),
        "unfold, without oneDNN": lambda: checked(without_onednn(build(True))),
    }


def checked(step):
    """A training step and what its first ones give."""
    return step, check_training(step)


def train(case, outputs, lstm, x, labels):
    """A training step with nn.Linear and fused Adam; `outputs(lstm, x)` are the head's inputs."""
    head = nn.Linear(case.hidden, N_CLASSES)
    # The second bias is redundant. Held at zero it leaves the network that the others train.
    lstm.bias_hh_l0.requires_grad_(False)
    given = weights(case)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(given["head_weight"]).T)
        head.bias.copy_(torch.from_numpy(given["head_bias"]))
    parameters = [p for p in (*lstm.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    criterion = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(head(outputs(lstm, x)), labels)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, CLIP_NORM, foreach=True)
        optimizer.step()
        return loss.detach(), norm

    return step


_inference_mode = torch.inference_mode()


def infer_only(threads):
    """Inference mode from here on: entered once, not in each call, which costs a microsecond."""
    torch.set_num_threads(threads)
    if not torch.is_inference_mode_enabled():  # to enter a second time would leave the first
        _inference_mode.__enter__()


def trace(module, arguments):
    """The module traced and frozen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and in small calls still the fastest
        traced = torch.jit.freeze(torch.jit.trace(module.eval(), arguments))
    for _ in range(3):  # the first runs optimise
        traced(*arguments)
    return traced


def inference(case, threads):
    """nn.LSTM, time-major, as it copies less."""
    infer_only(threads)
    lstm = build_lstm(case, batch_first=False)
    x = torch.from_numpy(data(case)[0]).transpose(0, 1).contiguous()

    def way(call):
        return (lambda: call(x)), check_outputs(call(x)[1][0][-case.directions :])

    return {
        "nn.LSTM": lambda: way(lstm),
        "traced nn.LSTM": lambda: way(trace(lstm, (x,))),
        "nn.LSTM without oneDNN": lambda: way(without_onednn(lstm)),
    }


def ragged_inference(case, threads):
    """Packed beforehand, and padded; outputs stay sorted."""
    infer_only(threads)
    given = Sorted(case)
    back = np.argsort(given.order)

    def way(outputs, lstm, x):
        return (lambda: outputs(lstm, x)), check_outputs(outputs(lstm, x)[back])

    lstm = build_lstm(case, batch_first=False)
    return {
        "packed": lambda: way(given.by_packing, lstm, given.packed),
        "padded": lambda: way(given.by_padding, lstm, given.padded),
        "padded, without oneDNN": lambda: way(without_onednn(given.by_padding), lstm, given.padded),
    }


class OneProduct(nn.Module):
    """A cell with one product over [x, h]."""

    def __init__(self, given):
        super().__init__()
        kernels = [torch.from_numpy(given[name]) for name in ("kernel", "recurrent_kernel")]
        self.weight = nn.Parameter(torch.cat(kernels))
        self.bias = nn.Parameter(torch.from_numpy(given["bias"]))

    def forward(self, x, h, c):
        """h and c after the step."""
        i, f, g, o = torch.addmm(self.bias, torch.cat((x, h), 1), self.weight).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Cell(nn.Module):
    """nn.LSTMCell that takes h and c one by one."""

    def __init__(self, case, given):
        super().__init__()
        self.cell = nn.LSTMCell(case.inputs, case.hidden)
        set_weights(self.cell, "", given)

    def forward(self, x, h, c):
        """h and c after the step."""
        return self.cell(x, (h, c))


def step(case, threads):
    """Cells, and nn.LSTM with one step."""
    infer_only(threads)
    given, lstm = weights(case)["layers"][0][0], build_lstm(case, batch_first=False)
    x = torch.from_numpy(data(case)[0][:, 0])
    zeros = torch.zeros(case.batch, case.hidden)
    cell = Cell(case, given)

    def one_of_lstm(x, h, c):
        return lstm(x, (h, c))[1]

    def stepper(call, x, zeros):
        h, c = zeros, zeros

        def run():
            nonlocal h, c
            h, c = call(x, h, c)

        return run, check_steps(run, lambda: h)

    return {
        "traced LSTMCell": lambda: stepper(trace(cell, (x, zeros, zeros)), x, zeros),
        "traced cell, one product": lambda: stepper(trace(OneProduct(given), (x, zeros, zeros)), x, zeros),
        "LSTMCell": lambda: stepper(cell, x, zeros),
        "nn.LSTM": lambda: stepper(one_of_lstm, x[None], zeros[None]),
        "nn.LSTM without oneDNN": lambda: stepper(without_onednn(one_of_lstm), x[None], zeros[None]),
    }


if __name__ == "__main__":
    serve(
        lambda: f"PyTorch {torch.__version__}",
        {
            "training": training, "conv-training": conv_training, "ragged-training": ragged_training,
            "inference": inference, "ragged-inference": ragged_inference, "step": step,
        },
    )  # fmt: skip
