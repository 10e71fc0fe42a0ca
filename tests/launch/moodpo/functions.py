"""A reward that shows which prompt it was given."""


def prompt_length(prompts, completions):
    """Letters of all messages of the prompt."""
    return [float(sum(len(message["content"]) for message in prompt)) for prompt in prompts]
