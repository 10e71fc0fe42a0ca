"""The claims at the scale of one GPU of 80 GB: real data, models of up to 7 billion parameters. One module each, with a `CLAIM`."""

# Name -> what is put to the test; the module's name is that with underscores. A claim that is not here has no such runs.
NAMES: dict[str, str] = {
    "bt-judgement": "a scorer of 7 billion parameters on Anthropic HH",
    "d2po-labels": "labels for a policy of 7 billion parameters on UltraFeedback's prompts",
    "judge-consistency": "a judge of 7 billion parameters on HelpSteer2",
    "modpo-front": "a front of a model of 7 billion parameters on PKU-SafeRLHF",
    "moodpo-steering": "a policy of 7 billion parameters between help and harmlessness on Anthropic HH",
}
