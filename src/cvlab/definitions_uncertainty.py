"""Definitions of the numbers of dropout injection and of intervals."""

from __future__ import annotations

from cvlab.definitions_model import Definition, Group

AURC = Definition(
    "aurc",
    "area under risk over coverage (AURC)",
    "mean over coverages 1 / n, 2 / n, ... 1 of the mean risk of the most certain samples; of equally uncertain ones "
    "none comes first. Risk: of classes 1 for a wrong one, of numbers |error|, of masks 1 - Dice",
    "0 or more, lower is better",
    "Geifman, Uziel & El-Yaniv 2019",
    "It falls with fewer errors as well as with better uncertainty: compare it with the risk at full coverage.",
)
ENTROPY = Definition(
    "entropy",
    "mean predictive entropy (nats)",
    "mean of -sum p ln p of the mean scores (of masks: over the pixels)",
    "0 to ln k",
    "Shannon 1948",
    "High where classes are alike as well as where the network has not learned enough.",
)
MUTUAL_INFORMATION = Definition(
    "mutual_information",
    "mean mutual information (nats)",
    "mean of the entropy of the mean scores less the mean entropy of a pass",
    "0 to ln k",
    "Houlsby et al. 2011",
    "It depends on the rate and on the layers where dropout is injected.",
)
SAMPLES = Definition("samples", "samples", "number of rows of the table", "1 or more", "", "As everywhere.")

UNCERTAINTY_CLASSES = Group(
    "uncertainty-classes",
    "Uncertainty of classes by dropout injection",
    "In `uncertainty/metrics.json`, of the mean scores of all passes; `as trained` in the report is the same of the "
    "plain network.",
    (
        Definition(
            "accuracy",
            "accuracy",
            "samples whose highest mean score is that of the true class / n",
            "0 to 1, higher is better",
            "",
            "As the accuracy.",
        ),
        Definition(
            "nll",
            "negative log-likelihood",
            "mean of -ln(mean score of the true class); below 1e-7 counts as 1e-7",
            "0 to 16.12, lower is better",
            "",
            "As the loss.",
        ),
        Definition(
            "ece",
            "expected calibration error (ECE)",
            "as the ECE over bins of equal width, of the mean scores",
            "0 to 1, lower is better",
            "Guo et al. 2017",
            "As the ECE: above 0 by chance, the more so the fewer the samples.",
        ),
        ENTROPY,
        MUTUAL_INFORMATION,
        AURC,
        SAMPLES,
    ),
)

UNCERTAINTY_NUMBERS = Group(
    "uncertainty-numbers",
    "Uncertainty of numbers by dropout injection",
    "In `uncertainty/metrics.json`, of each target: m and s^2 are mean and variance of the passes, s^2 multiplied by "
    "the scale of validation, y the truth.",
    (
        Definition("rmse", "RMSE", "sqrt(mean (m - y)^2)", "0 or more, lower is better", "", "As RMSE."),
        Definition("mae", "MAE", "mean |m - y|", "0 or more, lower is better", "", "As MAE."),
        Definition(
            "deviation",
            "mean standard deviation",
            "mean of s",
            "0 or more, units of the target",
            "",
            "Small is not right.",
        ),
        Definition(
            "nll",
            "NLL",
            "mean of 0.5 ln s^2 + 0.5 (y - m)^2 / s^2, without the constant 0.5 ln 2 pi",
            "any number, lower is better",
            "Ledda, Fumera & Roli 2023",
            "It depends on the unit of the target. Undefined where a variance is 0.",
        ),
        Definition(
            "calibration_error",
            "calibration error",
            "mean of |level - share of the truth in the central interval of that level| over the levels 0, 0.1, ... 1",
            "0 to 0.5, lower is better",
            "Ledda, Fumera & Roli 2023; Kuleshov, Fenner & Ermon 2018",
            "Intervals that are right on average may be so for no single sample.",
        ),
        Definition("aurc", "AURC", AURC.formula, AURC.range, AURC.source, AURC.misleads),
        SAMPLES,
    ),
)

UNCERTAINTY_MASKS = Group(
    "uncertainty-masks",
    "Uncertainty of masks by dropout injection",
    "In `uncertainty/metrics.json`, of the mean probability of each pixel over all passes.",
    (
        Definition(
            "nll",
            "negative log-likelihood",
            "mean over images and pixels of -ln(mean score of the truth)",
            "0 to 16.12, lower is better",
            "",
            "Background decides it.",
        ),
        ENTROPY,
        MUTUAL_INFORMATION,
        Definition(
            "ece",
            "expected calibration error (ECE)",
            "sum over 15 equally wide bins of the probability of |sum over their pixels of (truth - probability)|, "
            "divided by the number of all pixels",
            "0 to 1, lower is better",
            "Guo et al. 2017",
            "Background decides it: pixels that are far from every structure are many, and easy.",
        ),
        Definition(
            "dice_all",
            "Dice, mean over all images",
            "mean of 2 tp / (2 tp + fp + fn) over all images, of the mean of the passes; two empty masks count as 1",
            "0 to 1, higher is better",
            "Dice 1945",
            "As the Dice over all images.",
        ),
        Definition(
            "dice_nonempty",
            "Dice, mean over images with a true mask",
            "mean of 2 tp / (2 tp + fp + fn) over the images whose true mask is not empty",
            "0 to 1, higher is better",
            "Dice 1945",
            "As the Dice over images with the structure.",
        ),
        Definition(
            "dice_pooled",
            "Dice, pooled over all pixels",
            "2 tp / (2 tp + fp + fn) of the sums over all images",
            "0 to 1, higher is better",
            "Dice 1945",
            "As the pooled Dice.",
        ),
        AURC,
        SAMPLES,
    ),
)

INTERVALS = Group(
    "intervals",
    "Intervals",
    "`low` and `high` beside a value, with their `method`; `a (b to c)` in the report. They say how much the number "
    "would vary with other samples of the same kind, of the same trained network: not with another training, and "
    "nothing about leaks, wrong labels or other hospitals.",
    (
        Definition(
            "bootstrap",
            "bootstrap interval",
            "groups are drawn with replacement, as many as there are, thousands of times; the interval lies between "
            "percentiles of the number in these resamples, corrected for bias and skewness (BCa) or not (percentile), "
            "and further out for few groups; of calibration errors it is mirrored at the value (basic), from 0 on "
            "where chance gives as much",
            "low <= high, 95 % unless configured otherwise",
            "Efron 1987; Davison & Hinkley 1997; Hesterberg 2015",
            "With few groups it is rough. In simulations the 95 % intervals of calibration errors held the truth in "
            "87 to 99 of 100 cases.",
        ),
        Definition(
            "wilson",
            "Wilson interval",
            "(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)",
            "0 to 1",
            "Wilson 1927",
            "It takes samples as independent, and is used only where no group has two of them.",
        ),
        Definition(
            "delong",
            "DeLong interval",
            "AUC with the variance of DeLong by mid-ranks, on the logit scale",
            "0 to 1",
            "DeLong, DeLong & Clarke-Pearson 1988; Sun & Xu 2014",
            "It takes samples as independent. Undefined where the samples are parted wholly.",
        ),
    ),
)
