"""The one look of everything that is shown: colours of pages in light and dark, of pictures, and of the steering page.

Pages take them as CSS variables (`launch.common.page`), pictures as they are (`launch.common.picture`), the steering page as
a theme of Gradio (`launch.moodpo.page`).
"""

LIGHT = {
    "ink": "#1f2430", "soft": "#5b6472", "line": "#d9dde3", "paper": "#ffffff", "band": "#f4f6f9", "mark": "#2563eb",
}  # fmt: skip
DARK = {
    "ink": "#e6e9ef", "soft": "#a3acba", "line": "#363d49", "paper": "#15181e", "band": "#1e232c", "mark": "#8fb4ff",
}  # fmt: skip
FONTS = ("system-ui", "sans-serif")
# Below it a window is narrow: pages give their pictures in a shape whose letters can still be read there.
NARROW = 600  # CSS pixels

FRONT, UNTOUCHED = "#93b4f5", "#d97706"
# Several series in one picture, told apart without colour vision too.
SERIES = (LIGHT["mark"], UNTOUCHED, "#059669", "#7c3aed", "#db2777", "#475569", "#0891b2", "#ca8a04")


def variables(colours: dict[str, str]) -> str:
    """`--ink: #1f2430; ...`: colours as CSS writes them."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
