"""Definitions of the numbers of calibration, and of what is chosen on validation."""

from __future__ import annotations

from cvlab.definitions_model import Definition, Group

CALIBRATION = Group(
    "calibration",
    "Calibration",
    "Whether a score of 0.8 is right in 80 of 100 cases. Of two classes the score of the positive class is judged, "
    "and true is a positive sample; of more the highest score, and true is a right prediction. Bins b hold their "
    "upper edge and not their lower one; n_b are their samples, score_b their mean score, share_b the share of true "
    "ones. `calibrated` holds the same of the scores after the temperature.",
    (
        Definition(
            "brier",
            "Brier score",
            "mean of (score - true)^2; of more than two classes the sum of it over all classes (true: 1 for the true "
            "class)",
            "two classes 0 to 1, more 0 to 2; lower is better",
            "Brier 1950",
            "A rare class makes it small: always saying the share r of a class reaches r (1 - r). Some halve it, or "
            "double that of two classes.",
        ),
        Definition(
            "ece",
            "ECE, bins of equal width",
            "sum over 15 bins of equal width of n_b / n |share_b - score_b|",
            "0 to 1, lower is better",
            "Guo et al. 2017",
            "It is above 0 for perfectly calibrated scores too, the more so the fewer the samples (see the ECE by "
            "chance), and so are the ends of its interval. It says nothing about skill: always saying the share of a "
            "class has 0. Resamples keep the edges of the bins.",
        ),
        Definition(
            "ece_equal_mass",
            "ECE, bins of equal mass",
            "the same over up to 15 bins of about as many samples each; equal scores are never parted",
            "0 to 1, lower is better",
            "Nixon et al. 2019",
            "As for bins of equal width. Resamples keep the edges of the original sample.",
        ),
        *(
            Definition(
                f"{key}_by_chance",
                f"ECE by chance, bins of equal {kind}",
                "mean of the ECE that the same scores would have if they were perfectly calibrated, and its 95th "
                "percentile (`at most`): the truth is drawn by the scores up to 1,000 times",
                "0 to 1",
                "consistency resampling, Broecker & Smith 2007",
                "Samples count as independent; several images of one person make chance larger than this.",
            )
            for key, kind in (("ece", "width"), ("ece_equal_mass", "mass"))
        ),
        Definition(
            "brier_reliability",
            "Brier score, reliability",
            "sum over 15 bins of equal width of n_b / n (score_b - share_b)^2; of several classes the sum over them, "
            "each in bins of its own score",
            "0 or more, lower is better",
            "Murphy 1973",
            "Too large with few samples, as the ECE is.",
        ),
        Definition(
            "brier_resolution",
            "Brier score, resolution",
            "sum of n_b / n (share_b - base)^2, base the share of all, less the variance of the scores within bins, "
            "plus twice their covariance with the truth",
            "higher is better; at most the uncertainty, below 0 for scores that run against the truth within bins",
            "the generalised resolution of Stephenson, Coelho & Jolliffe 2008",
            "Brier score = reliability - resolution + uncertainty holds exactly only with the terms within bins; "
            "without them, as in Murphy 1973, it holds where all scores of a bin are equal.",
        ),
        Definition(
            "brier_uncertainty",
            "Brier score, uncertainty",
            "base (1 - base), the Brier score of always saying the share of the class; of several classes the sum "
            "over them",
            "two classes 0 to 0.25, more 0 to below 1",
            "Murphy 1973",
            "It is a property of the samples, not of the network.",
        ),
    ),
)

FITTED = Group(
    "fitted",
    "Chosen on validation",
    "In `operating_point.json`: chosen from the predictions of validation alone and applied unchanged to all others.",
    (
        Definition(
            "threshold",
            "threshold",
            "the score, or the probability of a pixel, from which on it is positive; a number, or what a rule "
            "chooses: youden (largest sensitivity + specificity - 1), f1 (largest F1), a sensitivity or specificity "
            "to be reached, dice (largest pooled Dice, of 0.05, 0.10, ... 0.95)",
            "0 to 1",
            "Youden 1950",
            "On few validation samples another split would give another threshold. Its values on validation are too "
            "good: it was chosen there.",
        ),
        Definition(
            "temperature",
            "temperature",
            "T that minimises the loss of validation with the scores softmax(ln(max(score, 1e-7)) / T)",
            "0.1 to 10; above 1 the network was too sure of itself, below 1 not sure enough",
            "Guo et al. 2017",
            "At its bound there is no minimum (validation told apart perfectly, or scores that say nothing). It "
            "repairs the average confidence only: no class, no group and no shifted data by themselves.",
        ),
        Definition(
            "nll_before",
            "loss of validation before",
            "mean of -ln(score of the true class) with the scores as they are",
            "0 to 16.12, lower is better",
            "",
            "As the loss.",
        ),
        Definition(
            "nll_after",
            "loss of validation after",
            "the same with the temperature",
            "0 to 16.12, lower is better",
            "",
            "Too good by a little: the temperature was fitted to these samples. Compare the losses of test.",
        ),
        Definition(
            "rate",
            "dropout rate",
            "the share of values that a pass of dropout injection drops, of 15 rates the one with the lowest negative "
            "log-likelihood on validation",
            "above 0, below 1; tried: 0.001 to 0.5",
            "Ledda, Fumera & Roli 2023",
            "At an end of the list a better rate may lie beyond it.",
        ),
        Definition(
            "scale",
            "scale of the variance",
            "C = mean of (y - m)^2 / s^2 on validation, by which the variances of numbers are multiplied",
            "above 0; above 1: the passes scattered too little",
            "Laves et al. 2020; Levi et al. 2022",
            "One number cannot repair variances that are too small for some samples and too large for others.",
        ),
    ),
)
