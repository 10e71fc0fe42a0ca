"""`python -m launch doctor`: everything about a run that can be known before it costs money, one small check a file."""
