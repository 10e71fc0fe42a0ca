"""Gold function `paraphrase`: the same meaning in other words."""

from collections.abc import Sequence

from .base import BatchScore, Metadata, by_row
from .words import word_tokens

LEXICAL_WEIGHT = 2


def lexical_term(question: str, answer: str) -> float:
    """How different the words are: size of the union over twice the larger set, without case.

    0.5 for the same words, 1 for none in common and equally many; 0 for two empty texts.
    """
    first, second = ({word.lower() for word in word_tokens(text)} for text in (question, answer))
    larger = max(len(first), len(second))
    return len(first | second) / (2 * larger) if larger else 0.0


def paraphrase(
    model: str = "sentence-transformers/paraphrase-MiniLM-L6-v2", lexical_only: bool = False, device: str = "cpu"
) -> BatchScore:
    """Cosine of the embeddings of prompt and response, plus 2 times `lexical_term`. From -1 to 3.

    Args:
        model: folder or hub name of a sentence-transformers model.
        lexical_only: leave the embeddings out; then nothing is loaded.
        device: where the model lives.

    Raises:
        ValueError: sentence-transformers is not installed.
    """
    if lexical_only:
        return by_row(lambda prompt, response, row: LEXICAL_WEIGHT * lexical_term(prompt, response))
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ValueError(
            "gold function 'paraphrase' needs sentence-transformers: pip install sentence-transformers; "
            "with lexical_only=True it needs nothing"
        ) from None
    encoder = SentenceTransformer(model, device=device)

    def scores(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        # Unit vectors: their product is the cosine.
        left, right = (
            encoder.encode(list(texts), normalize_embeddings=True, convert_to_numpy=True)
            for texts in (prompts, responses)
        )
        cosines = (left * right).sum(-1)
        return [
            float(cosine) + LEXICAL_WEIGHT * lexical_term(prompt, response)
            for cosine, prompt, response in zip(cosines, prompts, responses, strict=True)
        ]

    return scores
