"""Serving the discriminator of D2PO, and judging its runs."""
