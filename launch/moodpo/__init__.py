"""Using a policy that is steered by weights, and its baselines: answers, a page, soups and one picture of all of them."""
