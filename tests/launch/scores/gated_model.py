"""A model shaped like ArmoRM whose code lies beside its weights: `rewards` of 19 heads, and one gated score."""

from dataclasses import dataclass

import torch
from transformers import LlamaModel, LlamaPreTrainedModel
from transformers.utils import ModelOutput


@dataclass
class GatedOutput(ModelOutput):
    rewards: torch.FloatTensor | None = None
    score: torch.FloatTensor | None = None

    @property
    def logits(self):
        return self.score


class GatedReward(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.regression_layer = torch.nn.Linear(config.hidden_size, 19, bias=False)
        self.gating = torch.nn.Linear(config.hidden_size, 19, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **kwargs):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        # As ArmoRM looks for it: the token before the first pad token, or the last one where there is none.
        last = torch.eq(input_ids, self.config.pad_token_id).int().argmax(-1) - 1
        states = hidden[torch.arange(len(hidden)), last % input_ids.shape[-1]]
        rewards = self.regression_layer(states)
        return GatedOutput(rewards=rewards, score=(self.gating(states).softmax(-1) * rewards).sum(-1, keepdim=True))
