"""Definitions of the numbers of a classification."""

from __future__ import annotations

from cvlab.definitions_model import CORRELATION, SHARE, TOP_K, Definition, Group

CLASSIFICATION = Group(
    "classification",
    "Classification",
    "One number a table of predictions, over all n samples and k classes. The predicted class is the one with the "
    "highest score, the first of equals; a threshold plays no part.",
    (
        Definition(
            "loss",
            "loss",
            "mean of -ln(score of the true class); a score below 1e-7 counts as 1e-7",
            "0 to 16.12, lower is better; ln k where all scores are equal",
            "cross-entropy, the logarithmic score of Good 1952",
            "A few samples that are confidently wrong outweigh all others. It has no class weights and no label "
            "smoothing, so that it differs from the training loss, but can be compared between runs.",
        ),
        Definition(
            "accuracy",
            "accuracy",
            "samples whose predicted class is the true one / n",
            SHARE,
            "",
            "With unequal classes: always saying the largest class reaches its share of the samples.",
        ),
        Definition(
            "balanced_accuracy",
            "balanced accuracy",
            "mean of the recall over the classes that have samples",
            f"{SHARE}; 1 / k by chance",
            "Brodersen et al. 2010",
            "A class of five samples counts as much as one of five hundred, and its recall moves in steps of 0.2.",
        ),
        Definition(
            "cohen_kappa",
            "Cohen's kappa",
            "(p - e) / (1 - e), p the accuracy and e = sum over the classes of (share of the truth) x (share of the "
            "predictions)",
            CORRELATION,
            "Cohen 1960",
            "It depends on how frequent the classes are: the same network has another kappa on another mixture.",
        ),
        Definition(
            "mcc",
            "Matthews correlation",
            "(c n - sum_k t_k p_k) / sqrt((n^2 - sum_k p_k^2) (n^2 - sum_k t_k^2)), c right predictions, t_k samples "
            "of class k, p_k predictions of it",
            CORRELATION,
            "Matthews 1975; several classes: Gorodkin 2004",
            "Undefined where all samples are of one class or predicted as one; its value says little by itself.",
        ),
        Definition(
            TOP_K,
            "top k accuracy",
            "samples whose true class is among the k highest scores / n; ties go to the first class",
            f"{SHARE}; k / classes by chance",
            "",
            "With few classes it is high without any skill.",
        ),
        Definition(
            "macro_precision",
            "macro precision",
            "mean of the precision over all classes; an undefined one counts as 0",
            SHARE,
            "scikit-learn, average='macro'",
            "A class that is never predicted pulls it down by 1 / k, however rare the class is.",
        ),
        Definition(
            "weighted_precision",
            "weighted precision",
            "mean of the precision over all classes, weighted by their samples; an undefined one counts as 0",
            SHARE,
            "scikit-learn, average='weighted'",
            "The large classes decide; a small class that is always wrong hardly shows.",
        ),
        Definition(
            "macro_recall",
            "macro recall",
            "mean of the recall over all classes; an undefined one counts as 0",
            SHARE,
            "scikit-learn, average='macro'",
            "A class without samples counts as 0, unlike in the balanced accuracy.",
        ),
        Definition(
            "weighted_recall",
            "weighted recall",
            "mean of the recall over all classes, weighted by their samples",
            SHARE,
            "scikit-learn, average='weighted'",
            "It is the accuracy under another name.",
        ),
        Definition(
            "macro_f1",
            "macro F1",
            "mean of F1 over all classes; an undefined one counts as 0",
            SHARE,
            "scikit-learn, average='macro'; Opitz & Burst 2019",
            "Others compute F1 from macro precision and macro recall, which is never lower: ask which one is compared.",
        ),
        Definition(
            "weighted_f1",
            "weighted F1",
            "mean of F1 over all classes, weighted by their samples; an undefined one counts as 0",
            SHARE,
            "scikit-learn, average='weighted'",
            "The large classes decide.",
        ),
        Definition(
            "macro_specificity",
            "macro specificity",
            "mean of the specificity over the classes where it is defined",
            SHARE,
            "",
            "With many classes it is near 1 whatever is predicted, since most samples are negative for each class.",
        ),
        Definition(
            "macro_roc_auc",
            "macro ROC AUC",
            "mean of the ROC AUC, one class against the rest, over the classes where it is defined",
            f"{SHARE}; 0.5 by chance",
            "Fawcett 2006, section 9.2 (there weighted by the samples)",
            "High although no class is predicted well: it judges the order of the scores of each class by itself, not "
            "which class has the highest one.",
        ),
        Definition(
            "macro_average_precision",
            "macro average precision",
            "mean of the average precision, one class against the rest, over the classes where it is defined",
            SHARE,
            "scikit-learn, average='macro'",
            "What chance reaches is the share of each class, so that it cannot be compared between mixtures.",
        ),
        Definition(
            "samples",
            "samples",
            "number of rows of the predictions table",
            "1 or more",
            "",
            "Several images of one person are several samples, but not as much evidence as several persons.",
        ),
        Definition(
            "confusion_matrix",
            "confusion matrix",
            "number of samples of the class of the row that are predicted as the class of the column",
            "0 or more",
            "",
            "Counts look worst where most samples are; the shares of each row show which classes suffer.",
        ),
    ),
)

CLASS = Group(
    "class",
    "Each class",
    "Under `per_class`, and in the table by class: the class against all others. tp: samples of it predicted as it; "
    "fp: others predicted as it; fn: samples of it predicted as another; tn: all others.",
    (
        Definition(
            "precision",
            "precision",
            "tp / (tp + fp)",
            SHARE,
            "",
            "It falls as the class gets rarer, with the same network. Undefined where it is never predicted.",
        ),
        Definition(
            "recall",
            "recall",
            "tp / (tp + fn)",
            SHARE,
            "",
            "1 for a network that calls everything this class. Undefined without samples of it.",
        ),
        Definition(
            "specificity",
            "specificity",
            "tn / (tn + fp)",
            SHARE,
            "",
            "1 for a network that never says this class; near 1 for any rare class.",
        ),
        Definition(
            "f1",
            "F1",
            "2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall",
            SHARE,
            "van Rijsbergen 1979",
            "It leaves out tn, and takes false alarms and misses as equally bad, which they seldom are.",
        ),
        Definition(
            "roc_auc",
            "ROC AUC",
            "share of pairs of a sample of the class and another one in which the first has the higher score of the "
            "class; ties count half",
            f"{SHARE}; 0.5 by chance",
            "Hanley & McNeil 1982",
            "With a rare class a high AUC goes with mostly false alarms; it also counts thresholds that nobody would "
            "use.",
        ),
        Definition(
            "average_precision",
            "average precision",
            "sum over the thresholds of (rise of the recall) x precision there, without interpolation",
            f"{SHARE}; the share of the class by chance",
            "scikit-learn, average_precision_score",
            "Not comparable between sets in which the class is unequally frequent. The area by trapezoids is another "
            "number.",
        ),
        Definition(
            "support",
            "samples",
            "tp + fn, samples of the class",
            "0 or more",
            "",
            "With fewer than about 30 every number of the class is rough: look at its interval.",
        ),
    ),
)
