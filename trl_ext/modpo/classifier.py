"""A sequence-classification reward model: frozen, batched, with its own tokenizer."""

from collections.abc import Mapping, Sequence

import torch

from datasets_builders.progress import progress

from .model_dir import check_dtype, check_finite, resolve_model

Encoded = dict[str, list[int]]


def check_head(path: str, head: int, names: Mapping[int, str], chosen_by: str = "") -> int:
    """`head`, if the classifier has it.

    Args:
        names: index -> name of all its heads.
        chosen_by: what chose the head.

    Raises:
        ValueError: it has no such head; those that it has are named.
    """
    if head in names:
        return head
    found = ", ".join(f"{place} ({names[place]})" for place in sorted(names)[:20])
    chosen = f", which {chosen_by} chose" if chosen_by else ""
    raise ValueError(
        f"classifier {path!r} has no head {head}{chosen}; it has {len(names)}, counted from 0: {found}"
        f"{', ...' if len(names) > 20 else ''}"
    )


class ClassifierReward:
    """Scores (prompt messages, response) with one logit of a classifier.

    A tokenizer with a chat template gets the conversation through it; one without gets the pair (last user text,
    response), of which only the beginning of the prompt is cut when both are too long together.

    Args:
        path: folder or hub name of the model.
        head: index of the logit.
        device: where the model lives; None: on the GPU where there is one.
        max_length: tokens; None takes the limit of the tokenizer or the model, the smaller one.
        torch_dtype: one of DTYPES; None takes the model's own.
        trust_remote_code: whether Python code in the model's folder may run.
        chosen_by: what chose `head`, for the message where the model has none such.
        cut_overlong: what happens to a chat or a response that is too long in itself: True cuts it on the left, so
            that the end of the response stays, False refuses it.

    Raises:
        ValueError: not a model, a model with code of its own, weights that lack the head or are not finite, no such head, or an input
            that is refused.
    """

    def __init__(
        self,
        path: str,
        head: int = 0,
        device: str | torch.device | None = "cpu",
        max_length: int | None = None,
        *,
        torch_dtype: str | None = None,
        trust_remote_code: bool = False,
        cut_overlong: bool = True,
        chosen_by: str = "",
    ):
        check_dtype(torch_dtype)
        directory = resolve_model(path, trust_remote_code)
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(
            directory, truncation_side="left", trust_remote_code=trust_remote_code
        )
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            directory,
            dtype=getattr(torch, torch_dtype) if torch_dtype else "auto",
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
        if missing := sorted(loading["missing_keys"]):
            # transformers makes up what it does not find; scores of such a head are noise.
            raise ValueError(f"{path}: not a trained classifier, its weights lack {', '.join(missing[:5])}")
        check_finite(model, path)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(device).eval().requires_grad_(False)
        self.head = check_head(path, head, self.model.config.id2label, chosen_by)
        # The model looks for its last token by its own pad id. A tokenizer's stand-in pad (often the end token) would
        # make the score depend on the padding, so without an own pad id every row goes alone.
        self.pad_id = self.model.config.pad_token_id
        # A tokenizer without a limit of its own reports an astronomical one.
        positions = self.model.config.to_dict().get("max_position_embeddings", 2**31 - 1)
        self.max_length = max_length or min(self.tokenizer.model_max_length, positions)
        self.cut_overlong = cut_overlong

    def __call__(self, prompts: Sequence[list[dict]], responses: Sequence[str], batch_size: int = 32) -> torch.Tensor:
        """(N,) fp32 on the CPU."""
        rows = [self.encode(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        return self.score(rows, batch_size)

    def encode(self, prompt: list[dict], response: str) -> Encoded:
        """The tokens of one row, at most `max_length`.

        Raises:
            ValueError: more than that, and `cut_overlong` is off.
        """
        if self.tokenizer.chat_template is not None:
            messages = [*prompt, {"role": "assistant", "content": response}]
            # Tokenised by the template itself: a second tokenisation of its text would add the special tokens twice.
            encoded = dict(self.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True))
            if self._excess(encoded) > 0:
                self._refuse_unless_cut(encoded)
                encoded = {key: values[-self.max_length :] for key, values in encoded.items()}
            return encoded
        question = prompt[-1]["content"]
        encoded = self.tokenizer(question, response)
        if (excess := self._excess(encoded)) > 0:
            whole_response_fits = excess <= len(self.tokenizer(question, add_special_tokens=False)["input_ids"])
            if not whole_response_fits:
                self._refuse_unless_cut(encoded)
            cut = "only_first" if whole_response_fits else "longest_first"
            encoded = self.tokenizer(question, response, truncation=cut, max_length=self.max_length)
        return dict(encoded)

    def _excess(self, encoded: Encoded) -> int:
        return len(encoded["input_ids"]) - self.max_length

    def _refuse_unless_cut(self, encoded: Encoded) -> None:
        if not self.cut_overlong:
            raise ValueError(f"{len(encoded['input_ids'])} tokens, the classifier takes {self.max_length}")

    def score(self, rows: Sequence[Encoded], batch_size: int = 32, what: str = "") -> torch.Tensor:
        """(N,) fp32 on the CPU, in the order of `rows`; rows of similar length share a batch.

        Args:
            what: names the work in a progress bar; none without.
        """
        if self.pad_id is None:
            batch_size = 1
        scores = torch.zeros(len(rows))
        order = sorted(range(len(rows)), key=lambda index: (len(rows[index]["input_ids"]), index))
        with progress(len(order), what, "answers", shown=bool(what)) as bar:
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                with torch.no_grad():
                    logits = self.model(**self._pad([rows[index] for index in batch])).logits
                scores[batch] = logits[:, self.head].float().cpu()
                bar.update(len(batch))
        return scores

    def _pad(self, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": self.pad_id or 0}
        return {
            key: torch.tensor([row[key] + [fill.get(key, 0)] * (width - len(row[key])) for row in rows]).to(
                self.model.device
            )
            for key in rows[0]
        }
