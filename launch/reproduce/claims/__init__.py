"""One module for each claim, with a `CLAIM`."""

# Name -> what is put to the test; the module's name is that with underscores.
NAMES: dict[str, str] = {
    "modpo-front": "MODPO's policy for a weight is worth more to that weight than DPO on rows of both objectives",
    "eval-agrees": "our metrics give the figures that others published about the same verdicts",
}
