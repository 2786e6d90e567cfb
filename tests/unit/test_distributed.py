"""Communication between processes, without others."""

from unittest.mock import Mock

import torch
from torch import nn

from mixkd_plugin import distributed


def test_parameters_are_received_whatever_their_strides(monkeypatch):
    """Such as a transposed one of a user's teacher: it was zero on all processes but the first."""
    sent = torch.arange(6.0).view(2, 3)

    def broadcast(part, **_):
        part.copy_(sent.reshape(-1).view(torch.uint8))
        return Mock()

    monkeypatch.setattr(distributed.dist, "broadcast", broadcast)
    received = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(3, 2).t())]
    distributed.BroadcastGroup(object(), 0, False).broadcast_tensors(received)
    for parameter in received:
        torch.testing.assert_close(parameter.data, sent, rtol=0, atol=0)
