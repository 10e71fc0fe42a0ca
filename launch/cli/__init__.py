"""The command line: what every verb shares."""
