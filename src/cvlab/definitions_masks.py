"""Definitions of the numbers of a segmentation."""

from __future__ import annotations

from cvlab.definitions_model import SHARE, Definition, Group

PIXELS = "0 or more pixels of the image as the network sees it, lower is better"
DICE = "2 tp / (2 tp + fp + fn)"
IOU = "tp / (tp + fp + fn)"


def _overlap(key: str, name: str, formula: str) -> tuple[Definition, ...]:
    """The five means of Dice or of IoU."""
    return (
        Definition(
            f"{key}_all",
            f"{name}, mean over all images",
            f"mean over all images of {formula}; two empty masks count as 1, one empty mask as 0",
            SHARE,
            "Dice 1945" if key == "dice" else "Jaccard 1901",
            "Where most images show nothing, predicting nothing at all comes near 1: see the column of it.",
        ),
        Definition(
            f"{key}_nonempty",
            f"{name}, mean over images with {{structure}}",
            f"mean of {formula} over the images whose true mask is not empty",
            SHARE,
            "",
            "False alarms on images without the structure do not count.",
        ),
        Definition(
            f"{key}_pooled",
            f"{name}, pooled over all pixels",
            f"{formula} of the sums over all images",
            SHARE,
            "",
            "A few large structures decide; a missed small one hardly shows.",
        ),
        Definition(
            f"{key}_group_mean",
            f"{name}, by {{group}}, mean of the volumes",
            f"mean over the groups (patients) of {formula} of the sums over their images",
            SHARE,
            "as in Buda, Saha & Mazurowski 2019 for Dice",
            "Of few groups: look at its interval. A group without any structure counts as 1 or 0.",
        ),
        Definition(
            f"{key}_group_median",
            f"{name}, by {{group}}, median of the volumes",
            "median of the same",
            SHARE,
            "",
            "It says nothing about the worst half of the patients.",
        ),
    )


SEGMENTATION = Group(
    "segmentation",
    "Segmentation",
    "tp, fp, fn, tn: pixels of the structure that are predicted, other pixels that are predicted, pixels of the "
    "structure that are not, all others, at the threshold of the run. `over_thresholds` and `predict_nothing` hold "
    "the same at other thresholds, and of a model that predicts no pixel.",
    (
        *_overlap("dice", "Dice", DICE),
        Definition(
            "dice_group_standard_error",
            "standard error of the mean Dice by {group}",
            "sd of the volumes' Dice / sqrt(groups)",
            "0 or more",
            "",
            "Of few groups, whose Dice is skewed, the interval is better.",
        ),
        *_overlap("iou", "IoU", IOU),
        Definition(
            "pixel_accuracy",
            "pixel accuracy",
            "(tp + tn) / pixels, pooled",
            SHARE,
            "",
            "Nearly all pixels are background: predicting nothing has 0.99 and more.",
        ),
        Definition(
            "precision",
            "precision (pooled)",
            "tp / (tp + fp), pooled",
            SHARE,
            "",
            "Of pixels, not of findings: one large false region outweighs ten small right ones.",
        ),
        Definition(
            "recall",
            "recall (pooled)",
            "tp / (tp + fn), pooled",
            SHARE,
            "",
            "Of pixels, not of findings: large structures decide.",
        ),
        Definition(
            "image_sensitivity",
            "images with {structure} where anything is predicted (sensitivity)",
            "share of the images with a true mask that have any predicted pixel",
            SHARE,
            "",
            "A single pixel anywhere counts as found.",
        ),
        Definition(
            "image_specificity",
            "images without {structure} where nothing is predicted (specificity)",
            "share of the images without a true mask that have no predicted pixel",
            SHARE,
            "",
            "A single pixel counts as a false alarm.",
        ),
        *(
            Definition(
                f"hd95_{kind}",
                f"HD95, {kind} (pixels)",
                f"{kind} over the images with both masks of the 95th percentile of the distances between their "
                f"boundaries, of both directions together",
                PIXELS,
                "Huttenlocher, Klanderman & Rucklidge 1993; symmetric as in MedPy",
                "Images where one mask is empty, the worst there are, have none. In pixels, not in millimetres; "
                "others take the larger percentile of both directions.",
            )
            for kind in ("mean", "median")
        ),
        Definition(
            "hd95_defined", "images with an HD95", "images where both masks show something", "0 or more", "", "A count."
        ),
        Definition(
            "hd95_one_empty",
            "images without one: one mask is empty",
            "images where one mask is empty",
            "0 or more",
            "",
            "These are misses and false alarms that HD95 does not see.",
        ),
        Definition(
            "hd95_both_empty",
            "images without one: both masks are empty",
            "images where both masks are empty",
            "0 or more",
            "",
            "These count as 1 in the Dice over all images.",
        ),
        Definition("images", "images", "number of images", "1 or more", "", "Slices of one patient are much alike."),
        Definition(
            "samples",
            "samples",
            "number of images, once more",
            "1 or more",
            "",
            "Slices of one patient are much alike.",
        ),
        Definition(
            "nonempty_images",
            "images with {structure}",
            "images whose true mask is not empty",
            "0 or more",
            "",
            "A count.",
        ),
        Definition(
            "groups",
            "{group}s",
            "number of groups, such as patients",
            "1 or more",
            "",
            "This is how much evidence there is.",
        ),
        Definition("true_pixels", "true pixels", "tp + fn over all images", "0 or more", "", "A count."),
        Definition("predicted_pixels", "predicted pixels", "tp + fp over all images", "0 or more", "", "A count."),
    ),
)

VOLUME = Group(
    "volume",
    "Each group",
    "Under `by_group`: the pixels of all images of a group (a patient) are one volume.",
    (
        Definition(
            "dice", "Dice", f"{DICE} of the volume", SHARE, "Dice 1945", "1 where nothing is true and predicted."
        ),
        Definition(
            "iou", "IoU", f"{IOU} of the volume", SHARE, "Jaccard 1901", "1 where nothing is true and predicted."
        ),
        Definition("images", "images", "images of the group", "1 or more", "", "A count."),
        Definition(
            "nonempty_images",
            "images with {structure}",
            "those whose true mask is not empty",
            "0 or more",
            "",
            "A count.",
        ),
        Definition(
            "true_pixels", "true pixels", "tp + fn of the volume", "0 or more", "", "Small volumes have a rough Dice."
        ),
        Definition("predicted_pixels", "predicted pixels", "tp + fp of the volume", "0 or more", "", "A count."),
    ),
)
