"""The files that a run is started with, for somebody who has no checkout: listed, shown and copied."""
