"""Launching: quick start, pipelines, evaluation, run files. `python -m launch` lists the verbs."""
