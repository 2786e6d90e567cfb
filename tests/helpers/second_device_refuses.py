"""The second device's own rules: what it refuses, and what it notes."""

import pytest
import second_device
import torch

if __name__ == "__main__":
    with second_device.SecondDevice():
        here, there = torch.ones(2, 3), torch.ones(2, 3, device=second_device.DEVICE)
        assert there.device.type == second_device.DEVICE
        with pytest.raises(RuntimeError, match="expected all tensors on second"):
            here + there
        assert torch.equal((there * torch.tensor(2.0)).inner, 2 * here)  # a scalar may be the CPU's
        assert second_device.waits == []
        assert float(there.sum()) == 6 and there.cpu().equal(here)
        assert [operation for operation, _ in second_device.waits] == [
            "_local_scalar_dense",
            "_to_copy",
        ]
        second_device.waits.clear()
        there[[0, 1]], torch.tensor([1.0], device=second_device.DEVICE), here.to(there.device)
        assert [operation for operation, _ in second_device.waits] == ["copy_", "copy_", "_to_copy"]
