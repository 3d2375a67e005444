"""PyTorch's worker."""

import torch
from torch import nn

from .cases import CLIP_NORM, LEARNING_RATE, N_CLASSES, data, weights
from .worker import check_training, serve


def training(case, threads):
    """nn.LSTM, nn.Linear, fused Adam."""
    torch.set_num_threads(threads)
    lstm, head = nn.LSTM(case.inputs, case.hidden, batch_first=True), nn.Linear(case.hidden, N_CLASSES)
    given = {name: torch.from_numpy(array) for name, array in weights(case).items()}
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(given["kernel"].T)
        lstm.weight_hh_l0.copy_(given["recurrent_kernel"].T)
        lstm.bias_ih_l0.copy_(given["bias"])
        # PyTorch's second bias is redundant. Held at zero it leaves the network that the others train.
        lstm.bias_hh_l0.zero_().requires_grad_(False)
        head.weight.copy_(given["head_weight"].T)
        head.bias.copy_(given["head_bias"])
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


if __name__ == "__main__":
    serve(lambda: f"PyTorch {torch.__version__}", {"training": training})
