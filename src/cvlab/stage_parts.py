"""What one stage trains with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvlab.data.pipeline import Batches
from cvlab.data.samples import SampleTable
from cvlab.tasks.task import Task

if TYPE_CHECKING:
    import keras


@dataclass
class StageParts:
    """What a stage trains with.

    Attributes:
        model: The whole network, which is saved.
        head: What follows the features of the backbone, over the same layers, where those are computed once; the
            batches are features then.
        task: The task.
        training: The batches of an epoch.
        validation: What is predicted after each epoch.
        validation_table: The samples of that.
    """

    model: keras.Model
    head: keras.Model | None
    task: Task
    training: Batches
    validation: Batches
    validation_table: SampleTable

    @property
    def fitted(self) -> keras.Model:
        """What is fitted and validated."""
        return self.model if self.head is None else self.head
