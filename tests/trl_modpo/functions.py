"""Margins that misbehave."""


def nan_for_one(prompts, responses, *, response_tokens):
    return [
        float("nan") if "MARK" in prompt and index < len(prompts) // 2 else 1.0 for index, prompt in enumerate(prompts)
    ]


def too_large(prompts, responses, *, response_tokens):
    return [1e39] * len(prompts)  # finite as a float, infinite in fp32


def letters(prompts, responses, *, response_tokens):
    """Sees exactly the texts that it is given: a number that any added or lost character changes."""
    return [float(len(response)) + len(prompt) / 1000 for prompt, response in zip(prompts, responses, strict=True)]
