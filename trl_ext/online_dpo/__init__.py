"""What the online methods of this package share on top of TRL's experimental online DPO, the one place that touches it."""
