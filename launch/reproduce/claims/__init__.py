"""One module for each claim, with a `CLAIM`."""

# Name -> what is put to the test; the module's name is that with underscores.
NAMES: dict[str, str] = {
    "bt-judgement": "a scorer learns the judgement from preference pairs",
    "d2po-labels": "gold labels are worth more to a discriminator that learns during the run (D2PO)",
    "eval-agrees": "our metrics give the figures that others published about the same verdicts",
    "judge-consistency": "a judge becomes right and of one mind in both orders",
    "modpo-front": "MODPO's policy for a weight is worth more to that weight than the untouched model",
    "moodpo-steering": "both scores of one policy follow the weights that it is told (MOODPO)",
}
