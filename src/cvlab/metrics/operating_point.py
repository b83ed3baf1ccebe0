"""The operating point: from which score on a sample is positive, chosen on validation and kept for all other samples.

A sample is positive when its score is at least the threshold. The candidates of a rule are the distinct scores of the
validation samples:

- `youden`: the largest sensitivity + specificity - 1 (Youden 1950).
- `f1`: the largest F1.
- `{sensitivity: S}`: the largest candidate whose sensitivity is at least S.
- `{specificity: S}`: the smallest candidate whose specificity is at least S.

Of equally good candidates `youden` and `f1` take the largest. A number is the threshold itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.config import EvaluateConfig
from cvlab.errors import ConfigError, DataError, RunFolderError, counted, did_you_mean
from cvlab.metrics.binary import Cell, Scores, Truth, binary_metrics
from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.temperature import TEMPERATURE
from cvlab.run_folder import Json

DEFAULT_THRESHOLD = EvaluateConfig().threshold

Rule = float | str | dict[str, float]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, how it came about, and what it reaches where it was chosen.

    Attributes:
        positive_class: What is told from all other classes.
        rule: `evaluate.threshold` as it was configured.
        threshold: The score of the positive class from which on a sample is positive.
        split: Whose predictions it was chosen from.
        samples: How many these were.
        values: Their binary table at the threshold, as `binary_metrics` has it.
    """

    positive_class: str
    rule: Rule
    threshold: float
    split: str
    samples: int
    values: dict[str, Cell]

    @property
    def rule_text(self) -> str:
        """The rule as one writes it in a configuration."""
        return _shown(self.rule)

    @property
    def is_chosen(self) -> bool:
        """Whether a rule chose the threshold, from the predictions; a number is given beforehand."""
        return not isinstance(self.rule, float)

    def to_json(self) -> Json:
        """What `operating_point.json` holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> OperatingPoint:
        """Takes back what `to_json` gave.

        Raises:
            RunFolderError: Something in it is missing or impossible.
        """
        try:
            point = cls(**{field.name: value[field.name] for field in fields(cls)})
            EvaluateConfig(positive_class=point.positive_class, threshold=point.rule)
            counts = [point.values[name]["value"] for name in ("tp", "fp", "fn", "tn")]
            sound = 0.0 <= point.threshold <= 1.0 and sum(counts) == point.samples
            sound = sound and isinstance(point.split, str)
        except (TypeError, KeyError, ValueError):
            sound = False
        if not sound:
            raise RunFolderError(
                "operating_point.json: is damaged: expected a positive class, a rule, a threshold from 0 to 1 "
                "and the values of its samples. `cvlab evaluate RUN_DIR` writes the file anew."
            )
        return point

    @classmethod
    def among(cls, value: Json | None) -> OperatingPoint | None:
        """Takes the threshold out of what `operating_point.json` holds, which may hold other things alone.

        Raises:
            RunFolderError: Something in it is missing or impossible.
        """
        if isinstance(value, dict) and not {*value} & {field.name for field in fields(cls)}:
            return None
        return None if value is None else cls.from_json(value)

    def of(self, p: ClassificationPredictions) -> tuple[Truth, Scores]:
        """Returns whether the truth of each sample is the positive class, and the score of that class.

        Raises:
            RunFolderError: The predictions do not know the class.
        """
        if self.positive_class not in p.class_names:
            raise RunFolderError(
                f"operating_point.json: the positive class '{self.positive_class}' is none of the classes of the "
                f"predictions ({', '.join(p.class_names)}). `cvlab evaluate RUN_DIR` writes the file anew."
            )
        index = p.class_names.index(self.positive_class)
        return p.target == index, p.scores[:, index]


def find_positive_class(class_names: Sequence[str], evaluate: EvaluateConfig) -> str | None:
    """Returns the positive class: the one that is named, else the second of two; None where there is none.

    Raises:
        ConfigError: The class is not there, or a rule was given without one.
    """
    wanted, classes = evaluate.positive_class, ", ".join(f"'{name}'" for name in class_names)
    if wanted is not None and wanted not in class_names:
        hint = did_you_mean(wanted, class_names) or "."
        raise ConfigError([f"evaluate.positive_class: expected one of {classes}, received '{wanted}'{hint}"])
    if wanted is not None or len(class_names) == 2:
        return wanted or class_names[1]
    if evaluate.threshold != DEFAULT_THRESHOLD:
        rule = _shown(evaluate.threshold)
        raise ConfigError(
            [
                f"evaluate.threshold: {rule} is about one class against the rest, and there are {len(class_names)} "
                f"classes. Name it (evaluate.positive_class: one of {classes}), or leave the threshold out."
            ]
        )
    return None


def check_rule(rule: Rule, positive_class: str, *, positives: int, negatives: int) -> None:
    """Refuses a rule that has nothing to choose by: it needs samples of both kinds on validation.

    Raises:
        DataError: Validation has no positive, or no negative.
    """
    if isinstance(rule, float) or (positives and negatives):
        return
    raise DataError(
        f"evaluate.threshold: {_shown(rule)} chooses the threshold on validation, which has "
        f"{counted(positives, 'sample')} of '{positive_class}' and {negatives:,} of other classes; expected both. "
        "Change data.split, or give the threshold as a number (evaluate.threshold=0.5)."
    )


def choose(p: ClassificationPredictions, evaluate: EvaluateConfig, *, split: str = "val") -> OperatingPoint | None:
    """Chooses the operating point from the predictions of validation and nothing else; None without a positive class.

    Raises:
        ConfigError: The positive class is not there.
        DataError: No threshold does what the rule asks for.
    """
    name = find_positive_class(p.class_names, evaluate)
    if name is None:
        return None
    positive, score = p.target == p.class_names.index(name), p.scores[:, p.class_names.index(name)]
    check_rule(evaluate.threshold, name, positives=int(positive.sum()), negatives=int((~positive).sum()))
    threshold = choose_threshold(positive, score, evaluate.threshold)
    values = binary_metrics(positive, score, threshold=threshold)
    return OperatingPoint(name, evaluate.threshold, threshold, split, len(positive), values)


def choose_threshold(positive: Truth, score: Scores, rule: Rule) -> float:
    """Returns the threshold that a rule asks for, as the module describes it.

    Args:
        positive: (n,) whether the truth is the positive class; both kinds must be there.
        score: (n,) its score.
        rule: A number, `youden`, `f1`, `{"sensitivity": S}` or `{"specificity": S}`.

    Raises:
        DataError: No candidate reaches the specificity.
    """
    if isinstance(rule, float):
        return rule
    thresholds, tp, fp = _sweep(positive, score)
    positives, negatives = int(tp[-1]), int(fp[-1])
    if rule == "youden":
        # Whole numbers in place of tp / positives - fp / negatives, so that equally good ones are equal.
        return float(thresholds[np.argmax(tp * negatives - fp * positives)])
    if rule == "f1":
        return float(thresholds[np.argmax(2 * tp / (positives + tp + fp))])
    assert isinstance(rule, dict)
    ((metric, wanted),) = rule.items()
    if metric == "sensitivity":
        return float(thresholds[np.argmax(tp / positives >= wanted)])
    reached = (negatives - fp) / negatives
    enough = np.flatnonzero(reached >= wanted)
    if not len(enough):
        raise DataError(
            f"evaluate.threshold: {_shown(rule)} cannot be reached on validation: the highest specificity there is "
            f"{reached[0]:.3f}, at threshold {thresholds[0]:.4g} ({counted(negatives, 'negative sample')}). Ask for "
            "less: change evaluate.threshold in config.yaml of the run, then `cvlab evaluate RUN_DIR`."
        )
    return float(thresholds[enough[-1]])


def _sweep(positive: Truth, score: Scores) -> tuple[Scores, NDArray[np.int64], NDArray[np.int64]]:
    """Returns the distinct scores from high to low, and the true and false positives at each."""
    order = np.argsort(-score, kind="stable")
    last_of_equals = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    tp = np.cumsum(positive[order], dtype=np.int64)[last_of_equals]
    return score[order][last_of_equals], tp, last_of_equals + 1 - tp


def margins(score: Scores, threshold: float) -> Scores:
    """Returns how far each score is from the threshold, from -1 (score 0) over 0 (at the threshold) to 1 (score 1)."""
    room = np.where(score >= threshold, 1 - threshold, threshold)
    return np.divide(score - threshold, room, out=np.zeros_like(score), where=room > 0)


def threshold_text(threshold: float) -> str:
    """Returns a threshold to three decimals, or as many more as keep it apart from 0 and 1."""
    texts = (f"{threshold:.{digits}f}" for digits in range(3, 20))
    return next((text for text in texts if 0 < float(text) < 1), f"{threshold:g}")


def same_choice(stored: Json, point: Json) -> bool:
    """Returns whether two contents of `operating_point.json` come from the same settings."""
    same_rule = all(stored.get(key) == point.get(key) for key in ("rule", "positive_class"))
    return bool(stored) and same_rule and (TEMPERATURE in stored) == (TEMPERATURE in point)


def chosen_values(point: Json | None) -> dict[str, str]:
    """Returns what `operating_point.json` says was chosen on validation, by name, in words."""
    found = {"threshold": f"{point['threshold']:.4g}"} if point and "threshold" in point else {}
    if point and TEMPERATURE in point:
        value, note = (point[TEMPERATURE][key] for key in ("value", "note"))
        found[TEMPERATURE] = f"undefined ({note})" if value is None else f"{value:.4g}{f' ({note})' * bool(note)}"
    return found


def _shown(rule: Any) -> str:
    if isinstance(rule, dict):
        ((metric, share),) = rule.items()
        return f"{{{metric}: {share}}}"
    return str(rule)
