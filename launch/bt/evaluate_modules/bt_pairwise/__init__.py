"""`evaluate.load("<this folder>")`: the numbers of eval-bt for scores from anywhere."""
