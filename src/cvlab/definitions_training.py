"""Definitions of the numbers of a training and of the audit of its data."""

from __future__ import annotations

from cvlab.definitions_model import Definition, Group

TRAINING = Group(
    "training",
    "Training",
    "In `metrics.jsonl`, a line an epoch, and in the tables of what was run.",
    (
        Definition(
            "loss",
            "loss (running mean)",
            "mean of the training loss over the steps of the epoch, while the weights change, with class weights, "
            "label smoothing, dropout and augmentation",
            "0 or more, lower is better",
            "",
            "It lags behind the weights and is that of harder images: it may stand above the validation loss without "
            "any fault. Training and validation are compared by predictions of the final weights.",
        ),
        Definition(
            "val_loss",
            "val loss",
            "the loss of validation from predictions with the weights at the end of the epoch, as evaluation computes "
            "it",
            "0 or more, lower is better",
            "",
            "The lowest of many epochs is too good by chance: the best weights were chosen by it.",
        ),
        Definition(
            "learning_rate",
            "learning rate",
            "as it stands at the end of the epoch",
            "0 or more",
            "",
            "It cannot be compared across batch sizes and optimizers.",
        ),
        Definition(
            "images_per_second",
            "images/s",
            "samples that the epoch draws / time of its training, validation left out",
            "above 0",
            "",
            "It depends on what else the machine does. `head alone`: images whose features were computed before.",
        ),
        Definition(
            "waiting",
            "share of the time spent waiting for images",
            "time in which the network waited for the images of a step / time of the steps",
            "0 to 1",
            "",
            "The first step of an epoch, which starts the pipeline, is left out, and so are validation and saving.",
        ),
        Definition(
            "drawn",
            "drawn",
            "samples of a class that an epoch draws, by `data.sampling`",
            "0 or more",
            "",
            "Copies count.",
        ),
        Definition(
            "weight",
            "weight",
            "the weight of the class in the training loss; balanced: n / (k n_c)",
            "above 0",
            "King & Zeng 2001",
            "Weights change the scores: they are then calibrated to a mixture that is not the data's.",
        ),
        Definition(
            "share_of_the_loss",
            "share of the loss",
            "drawn x weight of a class / the sum of it over the classes",
            "0 to 1",
            "",
            "As if all samples had equal losses, which they have not.",
        ),
        Definition(
            "parameters",
            "parameters",
            "numbers in all layers; trained: those that the optimizer changes in a stage",
            "1 or more",
            "",
            "Fewer parameters are neither faster nor smaller by themselves.",
        ),
    ),
)

AUDIT = Group(
    "audit",
    "Audit of the data",
    "In `data.json` and in what `cvlab data audit CONFIG` prints; see [audit.md](audit.md).",
    (
        Definition(
            "auc",
            "AUC of a property of the files",
            "share of pairs of a sample of the class and another one that a property of name or storage puts in "
            "order, by five-fold cross-validation over groups; ties count half",
            "0 to 1; 0.5 tells nothing",
            "Hanley & McNeil 1982",
            "A low AUC of these properties does not prove that nothing else gives the source away.",
        ),
        Definition(
            "distance",
            "bits between near-duplicates",
            "bits in which two perceptual hashes of 255 bits differ",
            "0 to 255",
            "Zauner 2010",
            "Different films of one view may be near, cut-outs of one picture far.",
        ),
        Definition(
            "groups",
            "groups",
            "persons, patients or whatever else is never parted, as names or tables tell",
            "1 or more",
            "",
            "Names that do not fit the pattern are groups of their own: a person may then stand on both sides.",
        ),
    ),
)
