"""Pure mathematics on tensors and numbers. Imports neither TRL nor ms-swift; torch only when a tensor function is used.

Shapes: B pairs, T tokens, K objectives, V vocabulary. Log-probs are sums over completion tokens, fp32.
Signs: higher is better for every reward; chosen precedes rejected.
"""

from datasets_builders.python_names import loaded_when_used

_HOME = {
    "bt_log_loss": ".bradley_terry",
    "directional_margins": ".bradley_terry",
    "log_sigmoid": ".bradley_terry",
    "scaled_margin": ".bradley_terry",
    "score_spread": ".bradley_terry",
    "cancelled_share": ".group_advantages",
    "floor_spread": ".group_advantages",
    "group_spread": ".group_advantages",
    "scaled_advantages": ".group_advantages",
    "zero_low_spread": ".group_advantages",
    "implicit_reward": ".modpo",
    "modpo_loss": ".modpo",
    "modpo_rewards": ".modpo",
    "shift_reference": ".modpo",
    "completion_logps": ".logps",
    "selective_logps": ".logps",
    "brevity": ".text",
    "call_text_function": ".text",
    "get_text_function": ".text",
    "long_words": ".text",
    "negative_response_tokens": ".text",
    "rich_vocabulary": ".text",
    "short_words": ".text",
    "WeightSampler": ".weights",
    "dispersion": ".weights",
    "mean_inner_product": ".weights",
    "round_to_grid": ".weights",
    "spearman": ".weights",
}

__all__ = list(_HOME)
__getattr__ = loaded_when_used(__name__, _HOME)
