"""Preference rows of every form that upstream documents, a dozen each."""

from tests.tiny import SENTENCES, preference_rows, write_rows


def _turn(role: str, content: str) -> dict:
    return {"role": role, "content": content}


def multi_turn() -> list[dict]:
    """Two exchanges before the last one; a system message in every other row."""
    rows = preference_rows(12, seed=3)
    for index, row in enumerate(rows):
        before = [_turn("user", SENTENCES[index % 8]), _turn("assistant", SENTENCES[(index + 3) % 8])]
        row["messages"] = [_turn("system", "Be brief.")] * (index % 2) + before + row["messages"]
    return rows


def rejected_messages() -> list[dict]:
    """The rejected side as a conversation of its own that parts at the last turn."""
    rows = []
    for row in preference_rows(12, seed=4):
        rejected = [*row["messages"][:-1], _turn("assistant", row["rejected_response"])]
        rows.append({"messages": row["messages"], "rejected_messages": rejected})
    return rows


def early_parting() -> list[dict]:
    """Sides that part two turns before the end."""
    rows = []
    for index, row in enumerate(preference_rows(12, seed=5)):
        question, later = row["messages"][0], _turn("user", SENTENCES[index % 8])
        rejected = [question, _turn("assistant", "No."), later, _turn("assistant", row["rejected_response"])]
        chosen = [question, _turn("assistant", "Yes."), later, row["messages"][-1]]
        rows.append({"messages": chosen, "rejected_messages": rejected})
    return rows


def uneven() -> list[dict]:
    """Every third prompt is longer than the suite's --max_length."""
    rows = preference_rows(18, seed=6)
    for row in rows[::3]:
        row["messages"][0]["content"] = " ".join(SENTENCES * 3)
    return rows


def long_answers() -> list[dict]:
    """Every third chosen answer is longer than what is left after its prompt."""
    rows = preference_rows(18, seed=7)
    for row in rows[::3]:
        row["messages"][1]["content"] = " ".join(SENTENCES * 2)
    return rows


FORMS = {
    "pairs": preference_rows,
    "held_out": lambda: preference_rows(6, seed=8),
    "multi_turn": multi_turn,
    "rejected_messages": rejected_messages,
    "early_parting": early_parting,
    "uneven": uneven,
    "long_answers": long_answers,
}


def write_forms(folder) -> dict:
    """{form: its file}."""
    return {name: write_rows(folder / f"{name}.jsonl", form()) for name, form in FORMS.items()}


def trl_form(rows: list[dict]) -> list[dict]:
    """The same pairs as TRL wants them: the turns that both sides share are the prompt."""
    made = []
    for row in rows:
        chosen = row["messages"]
        rejected = row.get("rejected_messages") or [*chosen[:-1], _turn("assistant", row["rejected_response"])]
        shared = next(place for place, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other)
        made.append({"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]})
    return made


def trl_texts(rows: list[dict]) -> list[dict]:
    """Plain texts instead of conversations."""
    return [
        {
            "prompt": row["messages"][0]["content"],
            "chosen": " " + row["messages"][1]["content"],
            "rejected": " " + row["rejected_response"],
        }
        for row in rows
    ]


def trl_implicit(rows: list[dict]) -> list[dict]:
    """Whole conversations a side, from which TRL takes the prompt."""
    made = trl_form(rows)
    return [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in made]
