"""The digits: 1,797 images of 8 x 8 pixels in ten classes, part of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

CLASSES = 10
HELD_OUT = 0.25


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) in -1..1 and their classes (N,), for training and held out."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @classmethod
    def load(cls, seed: int = 0) -> Digits:
        """Split the digits at random.

        Raises:
            ValueError: scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_digits
        except ModuleNotFoundError as error:
            raise ValueError("The digits come with scikit-learn: pip install scikit-learn brings it.") from error
        images, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(np.asarray(images)).float().view(-1, 1, 8, 8) / 8 - 1
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        classes = torch.from_numpy(np.asarray(labels)).long()
        held = order[: int(len(order) * HELD_OUT)]
        kept = order[len(held) :]
        return cls(images[kept], classes[kept], images[held], classes[held])

    def of_class(self, digit: int) -> Tensor:
        """Training images of one class."""
        return self.train[self.train_labels == digit]


class Reader:
    """A classifier of digits, independent of the denoiser: a support vector machine."""

    def __init__(self, digits: Digits) -> None:
        from sklearn.svm import SVC

        machine: Any = SVC
        self._machine = machine(gamma=0.02, C=10)
        self._machine.fit(digits.train.flatten(1).numpy(), digits.train_labels.numpy())
        self.accuracy = float(self._machine.score(digits.test.flatten(1).numpy(), digits.test_labels.numpy()))

    def classes(self, images: Tensor) -> Tensor:
        """The digits that images (N, 1, 8, 8) show, shape (N,)."""
        return torch.from_numpy(self._machine.predict(images.flatten(1).numpy()))
