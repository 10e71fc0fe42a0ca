"""`python -m launch steer-page`: one slider for each objective, and the answers to several wishes beside each other.

The page is for the person at this machine: it listens on 127.0.0.1 unless another --host is given, which needs a name and
a password in the environment.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Literal

from datasets_builders.command_line import Parser
from launch.answers.backends import Decoding
from launch.cli.verbs import verb_parser
from launch.common.look import DARK, FONTS, LIGHT, variables
from launch.common.page import render
from launch.common.serving import RequestGuard, check_host
from launch.moodpo.steer import add_decoding_options, add_policy_options, open_policy, read_decoding
from launch.moodpo.steered import Steered, ask, asking, objectives_of
from launch.moodpo.weights import balance

AUTH_VARIABLE = "STEER_PAGE_AUTH"
LONGEST_PROMPT = 20_000  # characters
MOST_BYTES = 2**20  # of one request
# The look of the other pages (`launch.common.look`), by the names that Gradio has for its parts.
PARTS = {
    "body_background_fill": "paper", "background_fill_primary": "paper", "background_fill_secondary": "band",
    "block_background_fill": "paper", "block_title_text_color": "ink", "block_label_text_color": "soft",
    "input_background_fill": "band", "body_text_color": "ink", "body_text_color_subdued": "soft",
    "border_color_primary": "line", "block_border_color": "line", "input_border_color": "line",
    "input_border_color_focus": "mark", "slider_color": "mark", "button_primary_background_fill": "mark",
    "button_primary_background_fill_hover": "mark", "button_primary_text_color": "paper",
    "button_secondary_background_fill": "band", "button_secondary_background_fill_hover": "line", "button_secondary_text_color": "ink",
}  # fmt: skip
CSS = (
    f":root {{ {variables(LIGHT)} }} .dark {{ {variables(DARK)} }}"
    + """
body { color: var(--ink) !important; background: var(--paper) !important; }
input[type=range]::-webkit-slider-thumb { border: 2px solid var(--mark); }
input[type=range]::-moz-range-thumb { border: 2px solid var(--mark); }
:focus-visible { outline: 2px solid var(--mark) !important; outline-offset: 2px; }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); }
.card { min-width: 0; border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; }
.card.current { border-color: var(--mark); border-width: 2px; }
.card h3 { margin: 0 0 .2rem; font-size: .95rem; } .card .asked { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.card .answer { white-space: pre-wrap; overflow-wrap: anywhere; margin: .6rem 0 0; }
"""
)
CARDS = """<section class="cards" aria-live="polite">
{%- for card, wish in cards %}<article class="card {{ card.kind }}"><h3>{{ titles[card.kind] }}: {{ wish }}</h3>
<div class="asked">{{ card.prompt }}{% if card.cut %} · cut off at the longest answer{% endif %}</div>
<p class="answer">{{ card.answer }}</p></article>{% endfor -%}
</section>"""


@dataclass(frozen=True)
class Card:
    """One answer on the page.

    Attributes:
        kind: `current` for the sliders' wish, `pinned` for an earlier one that was kept, `alone` for one objective.
        percents: (K,) the wish, summing to 100.
        cut: the answer reached the limit of its length.
    """

    kind: Literal["current", "pinned", "alone"]
    percents: tuple[int, ...]
    prompt: str
    answer: str
    cut: bool


class Desk:
    """What the page can do, without the page.

    Args:
        names: the objectives in the order of training.
    """

    def __init__(self, policy: Steered, names: Sequence[str], decoding: Decoding):
        self.policy, self.names, self.decoding = policy, tuple(names), decoding

    def _card(self, kind: Literal["current", "alone"], prompt: str, percents: Sequence[int]) -> Card:
        weights = [percent / 100 for percent in percents]
        answer = ask(asking(self.policy, self.names, weights), prompt, self.decoding)
        return Card(kind, tuple(percents), prompt, answer.response, answer.capped)

    def generate(self, cards: Sequence[Card], prompt: str, percents: Sequence[int]) -> list[Card]:
        """The cards with a new answer for the sliders' wish in the place of the one before."""
        return [self._card("current", prompt, percents), *(card for card in cards if card.kind != "current")]

    def generate_alone(self, cards: Sequence[Card], prompt: str) -> list[Card]:
        """The cards with one new answer for each objective alone."""
        count = len(self.names)
        corners = [tuple(100 * (place == corner) for place in range(count)) for corner in range(count)]
        return [
            *(card for card in cards if card.kind != "alone"),
            *(self._card("alone", prompt, corner) for corner in corners),
        ]

    @staticmethod
    def pin(cards: Sequence[Card]) -> list[Card]:
        """The cards, the current one kept from now on."""
        return [replace(card, kind="pinned") if card.kind == "current" else card for card in cards]

    def show(self, cards: Sequence[Card]) -> str:
        """The cards as HTML; every text in it is escaped."""
        titles = {"current": "Current weights", "pinned": "Pinned", "alone": "One objective alone"}
        wishes = [
            ", ".join(f"{p}% {name}" for p, name in zip(card.percents, self.names, strict=True) if p) for card in cards
        ]
        return str(render(CARDS, titles=titles, cards=list(zip(cards, wishes, strict=True))))


def build_page(desk: Desk):
    """The Gradio page, not yet served. Cards and sliders belong to a visit; the model answers one at a time."""
    import gradio as gr

    from trl_ext.objectives.weights import grid_units

    def checked(prompt: str) -> str:
        if not prompt.strip():
            raise gr.Error("Write a prompt first.", print_exception=False)
        if len(prompt) > LONGEST_PROMPT:  # the box's own limit binds only those who type into it
            text = f"The prompt has {len(prompt)} characters: at most {LONGEST_PROMPT} are taken."
            raise gr.Error(text, print_exception=False)
        return prompt

    def generate(cards, prompt, hand, *percents):
        # Both are the browser's at the press. The other sliders follow through the server, so they may not have yet.
        place = min(max(int(hand or 0), 0), len(percents) - 1)
        cards = desk.generate(cards, checked(prompt), balance(percents, place))
        return cards, desk.show(cards)

    def generate_alone(cards, prompt):
        cards = desk.generate_alone(cards, checked(prompt))
        return cards, desk.show(cards)

    def pin(cards):
        cards = desk.pin(cards)
        return cards, desk.show(cards)

    with gr.Blocks(title="Steering by weights", analytics_enabled=False) as page:
        gr.Markdown("# Steering by weights\nOne policy; the weights of its objectives stand in the prompt.")
        prompt = gr.Textbox(label="Prompt", lines=3, max_length=LONGEST_PROMPT, elem_id="prompt")
        start = grid_units([1 / len(desk.names)] * len(desk.names), 100)
        with gr.Row():
            sliders = [
                gr.Slider(
                    0,
                    100,
                    value,
                    step=1,
                    min_width=260,  # in a narrow window one beside another would not leave room for its name
                    buttons=[],  # a reset would not move the others
                    interactive=len(desk.names) > 1,
                    label=f"{name} [%]",
                    elem_id=f"weight-{place}",
                )
                for place, (name, value) in enumerate(zip(desk.names, start, strict=True))
            ]
        with gr.Row():
            go = gr.Button("Generate", variant="primary", elem_id="generate")
            keep = gr.Button("Pin this answer", elem_id="pin")
            alone = gr.Button("Each objective alone", elem_id="alone")
            clear = gr.Button("Clear", elem_id="clear")
        shown = gr.HTML(elem_id="answers")
        cards = gr.State([])
        hand = gr.Number(0, visible=False)  # the slider that was moved last, which only the browser knows at once
        for place, slider in enumerate(sliders if len(sliders) > 1 else []):
            slider.input(None, None, hand, js=f"() => {place}", api_visibility="private")
            # `input` is the hand of the user; what `balance` sets does not come back as another event. The slider in
            # the hand is left alone, for it has moved on when the answer comes.
            slider.input(
                lambda *percents, place=place: _without(balance(percents, place), place),
                sliders,
                _without(sliders, place),
                show_progress="hidden",
                trigger_mode="always_last",
                api_visibility="private",
            )
        outputs = [cards, shown]
        private = {"api_visibility": "private"}
        one = {"concurrency_limit": 1, "concurrency_id": "model", **private}  # the model answers one visit at a time
        go.click(generate, [cards, prompt, hand, *sliders], outputs, **one)
        alone.click(generate_alone, [cards, prompt], outputs, **one)
        keep.click(pin, [cards], outputs, **private)
        clear.click(lambda: ([], desk.show([])), None, outputs, **private)
    return page


def _without(values: Sequence, place: int):
    left = [value for other, value in enumerate(values) if other != place]
    return left[0] if len(left) == 1 else left  # how Gradio takes one output


def check_access(host: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and password that the page asks for; None when it is for this machine alone and none are set.

    Raises:
        ValueError: a host that others can reach without a name and a password, or one of the two missing.
    """
    text = environment.get(AUTH_VARIABLE)
    if text is not None:
        name, _, password = text.partition(":")
        if not name or not password:
            raise ValueError(f"{AUTH_VARIABLE} must be NAME:PASSWORD")
        return name, password
    check_host(host, False, f"set {AUTH_VARIABLE}=NAME:PASSWORD in the environment")
    return None


def theme():
    """Gradio's theme with the look of the other pages, in light and in dark."""
    import gradio as gr

    colours = {name: f"var(--{colour})" for name, colour in PARTS.items()}
    return gr.themes.Default(font=FONTS).set(**colours, **{f"{name}_dark": value for name, value in colours.items()})


def serve(page, host: str, port: int | None, login: tuple[str, str] | None) -> str:
    """Serves the page in threads of this process, behind the guard; returns its address."""
    from starlette.middleware import Middleware

    guard = Middleware(RequestGuard, most_bytes=MOST_BYTES, local_only=login is None)
    _, url, _ = page.launch(
        server_name=host,
        server_port=port,
        auth=login,
        share=False,
        ssr_mode=False,
        footer_links=[],
        css=CSS,
        theme=theme(),
        quiet=True,  # it would advertise public links
        prevent_thread_lock=True,
        app_kwargs={"middleware": [guard]},
    )
    return url


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("steer-page", __doc__)
    add_policy_options(parser)
    add_decoding_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    return parser


def main(argv: list[str]) -> int:
    """Serves until it is interrupted."""
    options = make_parser().parse_args(argv)
    login = check_access(options.host, os.environ)
    names = objectives_of(options.adapter or options.model, options.objectives)
    decoding = read_decoding(options)
    if find_spec("gradio") is None:
        raise ValueError("the page needs gradio: pip install 'swift-trl-ext[ui]'")
    # Read by gradio when it is imported, which otherwise looks for a newer version and reports its use.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    policy = open_policy(options, decoding)
    page = build_page(Desk(policy, names, decoding))
    url = serve(page, options.host, options.port, login)
    print(f"the page is at {url}", flush=True)
    page.block_thread()
    return 0
