"""Definitions of the numbers of a regression."""

from __future__ import annotations

from cvlab.definitions_model import Definition, Group

UNITS = "0 or more, in the units of the target, lower is better"
RELATION = "-1 to 1, higher is better; 0 shows no relation"

REGRESSION = Group(
    "regression",
    "Regression",
    "Means over all targets of the numbers of each target (below), but for the loss; undefined where one of them is. "
    "Targets of different units should not be averaged: read them one by one.",
    (
        Definition(
            "loss",
            "loss",
            "over all samples and targets, as configured: mse mean (p - t)^2, mae mean |p - t|, huber (0.5 e^2 up to "
            "delta, then delta (e - 0.5 delta)), ccc 1 - mean CCC over all samples at once",
            "0 or more (ccc: 0 to 2), lower is better",
            "Huber 1964; Lin 1989",
            "Runs with different losses cannot be compared by it. While training, the CCC loss is that of each batch.",
        ),
        Definition("rmse", "RMSE", "mean over the targets of their RMSE", UNITS, "", "Large errors decide."),
        Definition("mae", "MAE", "mean over the targets of their MAE", UNITS, "", "It hides rare large errors."),
        Definition(
            "corr", "CORR", "mean over the targets of their correlation", RELATION, "", "Blind to shift and scale."
        ),
        Definition(
            "sagr",
            "SAGR",
            "mean over the targets of their sign agreement",
            "0 to 1, higher is better",
            "Nicolaou, Gunes & Pantic 2011",
            "High without skill where one sign prevails.",
        ),
        Definition(
            "ccc", "CCC", "mean over the targets of their concordance", RELATION, "Lin 1989", "See each target."
        ),
        Definition(
            "r2",
            "R²",
            "mean over the targets of their coefficient of determination",
            "up to 1, higher is better; 0 for always saying the mean, below 0 for worse",
            "",
            "One target far below 0 pulls the mean down without bound.",
        ),
        Definition(
            "samples",
            "samples",
            "number of rows of the predictions table",
            "1 or more",
            "",
            "Several images of one person are not as much evidence as several persons.",
        ),
    ),
)

TARGET = Group(
    "target",
    "Each target",
    "Under `per_target`. For truth t and prediction p of n samples: means m, population standard deviations s, "
    "correlation r.",
    (
        Definition(
            "rmse",
            "RMSE",
            "sqrt(mean (p - t)^2)",
            UNITS,
            "",
            "A few large errors decide it. Compare it with the standard deviation of the truth, which always saying "
            "the mean reaches.",
        ),
        Definition(
            "rmse_standard_error",
            "standard error of RMSE",
            "sd of (p - t)^2 / (2 RMSE sqrt(n))",
            "0 or more",
            "delta method",
            "It takes samples as independent; with several images of one person it is too small. Use the interval.",
        ),
        Definition("mae", "MAE", "mean |p - t|", UNITS, "", "It hides rare large errors."),
        Definition(
            "corr",
            "CORR",
            "r = mean of (t - m_t) (p - m_p) / (s_t s_p)",
            RELATION,
            "Pearson 1895",
            "Blind to a constant shift or a wrong scale; a few extreme samples can make it. Undefined for constants.",
        ),
        Definition(
            "sagr",
            "SAGR",
            "share of samples with (t > 0) = (p > 0)",
            "0 to 1, higher is better",
            "Nicolaou, Gunes & Pantic 2011",
            "High without skill where one sign prevails; a truth of 0 counts as not positive, and truths near 0 are "
            "tossed.",
        ),
        Definition(
            "ccc",
            "CCC",
            "2 r s_t s_p / (s_t^2 + s_p^2 + (m_t - m_p)^2)",
            RELATION,
            "Lin 1989",
            "It depends on how widely the truth varies: the same errors give a lower CCC on a narrower set.",
        ),
        Definition(
            "r2",
            "R²",
            "1 - sum (p - t)^2 / sum (t - m_t)^2",
            "up to 1, higher is better; 0 for always saying the mean, below 0 for worse",
            "",
            "Not the square of CORR; it too depends on how widely the truth varies.",
        ),
        Definition("truth_mean", "truth (mean)", "m_t", "units of the target", "", "Of these samples."),
        Definition("truth_std", "truth (sd)", "s_t", "0 or more, units of the target", "", "Of these samples."),
        Definition(
            "predicted_mean",
            "prediction (mean)",
            "m_p",
            "units of the target",
            "",
            "Equal means do not say equal values.",
        ),
        Definition(
            "predicted_std",
            "prediction (sd)",
            "s_p",
            "0 or more, units of the target",
            "",
            "Well below that of the truth: the network stays near the mean.",
        ),
    ),
)
