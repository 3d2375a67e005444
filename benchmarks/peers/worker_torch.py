"""PyTorch's worker."""

import warnings

import torch
from torch import nn

from .cases import CLIP_NORM, LEARNING_RATE, N_CLASSES, data, weights
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


def training(case, threads):
    """nn.LSTM, nn.Linear, fused Adam."""
    torch.set_num_threads(threads)
    lstm, head = build_lstm(case, batch_first=True), nn.Linear(case.hidden, N_CLASSES)
    # The second bias is redundant. Held at zero it leaves the network that the others train.
    lstm.bias_hh_l0.requires_grad_(False)
    given = weights(case)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(given["head_weight"]).T)
        head.bias.copy_(torch.from_numpy(given["head_bias"]))
    parameters = [p for p in (*lstm.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    criterion = nn.CrossEntropyLoss()
    x, labels = (torch.from_numpy(array) for array in data(case))

    def step():
        optimizer.zero_grad(set_to_none=True)
        _, (h, _) = lstm(x)
        loss = criterion(head(h[-1]), labels)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, CLIP_NORM, foreach=True)
        optimizer.step()
        return loss.detach(), norm

    return step, check_training(step)


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


def without_onednn(call):
    """The same with PyTorch's own kernels."""

    def run(*arguments):
        torch._C._set_mkldnn_enabled(False)
        result = call(*arguments)
        torch._C._set_mkldnn_enabled(True)
        return result

    return run


def inference(case, threads):
    """nn.LSTM, time-major, as it copies less."""
    infer_only(threads)
    lstm = build_lstm(case, batch_first=False)
    x = torch.from_numpy(data(case)[0]).transpose(0, 1).contiguous()
    calls = {"nn.LSTM": lstm, "traced nn.LSTM": trace(lstm, (x,)), "nn.LSTM without oneDNN": without_onednn(lstm)}
    return {
        name: (lambda call=call: call(x), check_outputs(call(x)[1][0][-case.directions :]))
        for name, call in calls.items()
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
    own, cell = OneProduct(given), Cell(case, given)
    calls = {
        "traced LSTMCell": (trace(cell, (x, zeros, zeros)), x, zeros),
        "traced cell, one product": (trace(own, (x, zeros, zeros)), x, zeros),
        "LSTMCell": (cell, x, zeros),
        "nn.LSTM": (lambda x, h, c: lstm(x, (h, c))[1], x[None], zeros[None]),
        "nn.LSTM without oneDNN": (without_onednn(lambda x, h, c: lstm(x, (h, c))[1]), x[None], zeros[None]),
    }

    def stepper(call, x, zeros):
        h, c = zeros, zeros

        def run():
            nonlocal h, c
            h, c = call(x, h, c)

        return run, check_steps(run, lambda: h)

    return {name: stepper(*call) for name, call in calls.items()}


if __name__ == "__main__":
    serve(lambda: f"PyTorch {torch.__version__}", {"training": training, "inference": inference, "step": step})
