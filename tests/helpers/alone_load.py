"""Of two processes one loads a student: RANK PORT FOLDER DATA."""

import sys

import torch.distributed as dist
from fairseq.models.roberta import RobertaModel

import mixkd_plugin  # noqa: F401

if __name__ == "__main__":
    rank, port, folder, data = sys.argv[1:]
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=int(rank), world_size=2)
    if rank == "0":
        RobertaModel.from_pretrained(folder, "checkpoint_last.pt", data, bpe=None)
