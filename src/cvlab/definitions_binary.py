"""Definitions of the numbers of one class against the rest."""

from __future__ import annotations

from cvlab.definitions_model import CORRELATION, SHARE, Definition, Group

BINARY = Group(
    "binary",
    "At the operating point",
    "Under `binary`: the positive class against all others; a sample is predicted positive when its score is at least "
    "the threshold. tp, fp, fn, tn: true positives, false positives, false negatives, true negatives; n is their sum.",
    (
        Definition(
            "sensitivity",
            "sensitivity (recall)",
            "tp / (tp + fn)",
            SHARE,
            "Altman & Bland 1994",
            "1 for a network that calls every sample positive; read it with the specificity. It depends on how ill "
            "the ill are, so that it does not carry over to other patients.",
        ),
        Definition(
            "specificity",
            "specificity",
            "tn / (tn + fp)",
            SHARE,
            "Altman & Bland 1994",
            "1 for a network that calls no sample positive. In screening 0.95 still means mostly false alarms.",
        ),
        Definition(
            "ppv",
            "positive predictive value (precision)",
            "tp / (tp + fp)",
            SHARE,
            "Altman & Bland 1994",
            "It is that of the prevalence of these samples: where 1 in 1,000 is ill and not 1 in 2, it falls to a "
            "fraction.",
        ),
        Definition(
            "npv",
            "negative predictive value",
            "tn / (tn + fn)",
            SHARE,
            "Altman & Bland 1994",
            "As the positive one it is that of this prevalence; near 1 for anything rare.",
        ),
        Definition(
            "positive_likelihood_ratio",
            "positive likelihood ratio",
            "sensitivity / (1 - specificity)",
            "0 or more, 1 says nothing, higher is better; infinite without a false positive",
            "Deeks & Altman 2004",
            "With few false positives it swings widely: look at its interval.",
        ),
        Definition(
            "negative_likelihood_ratio",
            "negative likelihood ratio",
            "(1 - sensitivity) / specificity",
            "0 or more, 1 says nothing, lower is better; infinite without a true negative",
            "Deeks & Altman 2004",
            "0 where nothing was missed in these samples, which few samples do not prove.",
        ),
        Definition(
            "balanced_accuracy",
            "balanced accuracy",
            "(sensitivity + specificity) / 2",
            f"{SHARE}; 0.5 by chance",
            "Brodersen et al. 2010",
            "It takes misses and false alarms as equally bad.",
        ),
        Definition(
            "accuracy",
            "accuracy",
            "(tp + tn) / n",
            SHARE,
            "",
            "At the threshold, so that it differs from the accuracy by the highest score. Always negative reaches "
            "1 - prevalence.",
        ),
        Definition(
            "f1",
            "F1",
            "2 tp / (2 tp + fp + fn)",
            SHARE,
            "van Rijsbergen 1979",
            "It leaves out tn, depends on the prevalence, and changes when the other class is taken as positive.",
        ),
        Definition(
            "mcc",
            "Matthews correlation",
            "(tp tn - fp fn) / sqrt((tp + fp) (tp + fn) (tn + fp) (tn + fn))",
            CORRELATION,
            "Matthews 1975",
            "Undefined where one class is missing or never predicted; depends on the prevalence.",
        ),
        Definition(
            "roc_auc",
            "ROC AUC",
            "share of pairs of a positive and a negative sample in which the positive one has the higher score; ties "
            "half",
            f"{SHARE}; 0.5 by chance",
            "Hanley & McNeil 1982",
            "No threshold plays a part: a network with a high AUC may be useless at the threshold in use. With few "
            "positives it hides false alarms.",
        ),
        Definition(
            "average_precision",
            "average precision",
            "sum over the thresholds of (rise of the recall) x precision there, without interpolation",
            f"{SHARE}; the prevalence by chance",
            "scikit-learn, average_precision_score",
            "Not comparable between sets of unequal prevalence.",
        ),
        Definition(
            "prevalence",
            "prevalence (share of positives)",
            "(tp + fn) / n",
            "0 to 1",
            "",
            "It is that of the collected samples, seldom that of patients.",
        ),
        Definition(
            "tp",
            "true positives",
            "positive samples predicted positive",
            "0 or more",
            "",
            "A count: see the sensitivity.",
        ),
        Definition(
            "fp",
            "false positives",
            "negative samples predicted positive",
            "0 or more",
            "",
            "A count: see the specificity.",
        ),
        Definition(
            "fn",
            "false negatives",
            "positive samples predicted negative",
            "0 or more",
            "",
            "A count: see the sensitivity.",
        ),
        Definition(
            "tn",
            "true negatives",
            "negative samples predicted negative",
            "0 or more",
            "",
            "A count: see the specificity.",
        ),
        Definition(
            "predicted_positive",
            "predicted positive",
            "tp + fp, in the table over thresholds",
            "0 or more",
            "",
            "A count: see the positive predictive value.",
        ),
    ),
)
