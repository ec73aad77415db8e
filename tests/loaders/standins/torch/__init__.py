"""The few things of PyTorch that the ExLlama loaders touch, over numpy."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np

if os.environ.get("STANDIN_TORCH") == "broken":
    raise OSError("libcudart.so.13: cannot open shared object file")

long, float, half, bool = np.int64, np.float32, np.float16, np.bool_
version = SimpleNamespace(cuda=None if os.environ.get("STANDIN_TORCH") == "cpu" else "13.0", hip=None)
cuda = SimpleNamespace(is_available=lambda: os.environ.get("STANDIN_TORCH", "") == "")


class Tensor:
    """A numpy array with a tensor's manners."""

    def __init__(self, array):
        self.array = np.asarray(array)
        self.shape = self.array.shape

    def __getitem__(self, place):
        return Tensor(self.array[place])

    def __setitem__(self, place, value):
        self.array[place] = value

    def tolist(self):
        return self.array.tolist()

    def item(self):
        return self.array.item()

    def float(self):
        return Tensor(self.array.astype(np.float32))

    def cpu(self):
        return self

    def numpy(self):
        return self.array


def tensor(data, dtype=None):
    return Tensor(np.array(data, dtype=dtype))


def zeros(size, dtype=None):
    return Tensor(np.zeros(size, dtype=dtype))


def from_numpy(array):
    return Tensor(array)
