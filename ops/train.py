"""Everything that makes and judges a model, under one name: for the trainer and the demo.

Importing this module imports torch.
"""

from ops.evaluation import evaluate, logistic_regression_accuracy, majority_accuracy
from ops.fine_tune import (
    Phase,
    PhotoLoader,
    Progress,
    TrainedBackbone,
    TrainingPlan,
    fine_tune,
    train_backbone,
)
from ops.fit import FittedHead, fit_head
from ops.splits import Split, split_by_group

__all__ = [
    "FittedHead",
    "Phase",
    "PhotoLoader",
    "Progress",
    "Split",
    "TrainedBackbone",
    "TrainingPlan",
    "evaluate",
    "fine_tune",
    "fit_head",
    "logistic_regression_accuracy",
    "majority_accuracy",
    "split_by_group",
    "train_backbone",
]
