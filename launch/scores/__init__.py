"""A number for an answer or a pair: rewards, gold functions, reward models, margins."""
