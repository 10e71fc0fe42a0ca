"""Online DPO guided by a discriminator that learns from gold labels (D2PO, arXiv 2405.01511)."""
