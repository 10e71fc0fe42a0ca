"""A published claim of each method, put to the test by one command."""
