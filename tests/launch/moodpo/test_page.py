"""The page: its cards without a browser, who may see it, and all of it in a real browser."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.__main__ import main as launch
from launch.answers.backends import Decoding
from launch.moodpo.page import Card, Desk, check_access
from launch.moodpo.steered import ask, asking, load_policy
from tests.launch.browser import check_layout, look_like, needs_browser, open_browser
from tests.launch.moodpo.conftest import NAMES

REPOSITORY = Path(__file__).resolve().parents[3]
IS_DARK = "return document.body.classList.contains('dark')"
PROMPT = "Name three <b>animals</b> & more."


@pytest.fixture(scope="module")
def desk(base, steered):
    return Desk(load_policy(str(base), str(steered)), NAMES, Decoding(max_new_tokens=10))


def test_a_new_answer_replaces_the_current_one_and_pinned_ones_stay(desk):
    cards = desk.generate([], PROMPT, (70, 30))
    expected = ask(asking(desk.policy, NAMES, (0.7, 0.3)), PROMPT, desk.decoding)
    assert cards == [Card("current", (70, 30), PROMPT, expected.response, expected.capped)]
    cards = desk.generate(desk.pin(cards), "Another?", (0, 100))
    assert [(card.kind, card.percents) for card in cards] == [("current", (0, 100)), ("pinned", (70, 30))]
    cards = desk.generate(cards, "Another?", (100, 0))
    assert [(card.kind, card.percents) for card in cards] == [("current", (100, 0)), ("pinned", (70, 30))]
    cards = desk.generate_alone(cards, PROMPT)
    cards = desk.generate_alone(cards, PROMPT)
    assert [(card.kind, card.percents) for card in cards[2:]] == [("alone", (100, 0)), ("alone", (0, 100))]
    assert cards[2].answer == ask(asking(desk.policy, NAMES, (1, 0)), PROMPT, desk.decoding).response
    assert cards[2].answer != cards[3].answer


def test_texts_are_escaped_and_objectives_without_weight_are_left_out(desk):
    page = desk.show([Card("pinned", (100, 0), "<img src=x>", "<script>alert(1)</script> & so", True)])
    assert "<script>" not in page and "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; so" in page
    assert "Pinned: 100% brevity<" in page and "cut off" in page


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_this_machine_needs_no_password(host):
    assert check_access(host, {}) is None
    assert check_access(host, {"STEER_PAGE_AUTH": "me:se:cret"}) == ("me", "se:cret")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_others_need_one_from_the_environment(host):
    with pytest.raises(ValueError, match="set STEER_PAGE_AUTH=NAME:PASSWORD"):
        check_access(host, {})
    assert check_access(host, {"STEER_PAGE_AUTH": "me:secret"}) == ("me", "secret")


@pytest.mark.parametrize("text", ["", "me", "me:", ":secret"])
def test_half_a_password_is_none(text):
    with pytest.raises(ValueError, match="must be NAME:PASSWORD"):
        check_access("127.0.0.1", {"STEER_PAGE_AUTH": text})


def test_an_open_host_is_refused_before_anything_is_loaded(monkeypatch, capsys):
    monkeypatch.delenv("STEER_PAGE_AUTH", raising=False)
    assert launch(["steer-page", "--model", "no/such", "--host", "0.0.0.0"]) == 2
    assert "--host 0.0.0.0 is reachable from outside" in capsys.readouterr().err


def start_page(base, steered, log: Path) -> tuple[subprocess.Popen, str]:
    """The page as its command line serves it, and its address."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("STEER_PAGE_AUTH", None)
    command = [sys.executable, "-m", "launch", "steer-page", "--model", str(base), "--adapter", str(steered)]
    with open(log, "w") as errors:
        process = subprocess.Popen(
            [*command, "--max_new_tokens", "10"], env=environment, text=True, stdout=subprocess.PIPE, stderr=errors
        )
    for line in process.stdout:
        if line.startswith("the page is at "):
            return process, line.split()[-1]
    raise AssertionError(log.read_text()[-3000:])


def visible(texts: list[str]) -> list[str]:
    """The texts without control characters, which a random model writes and a browser drops."""
    return ["".join(character for character in text if character.isprintable()) for text in texts]


@needs_browser
@pytest.mark.integration
def test_the_page_in_a_browser(base, steered, desk, tmp_path):
    """Sliders share 100%, an answer is pinned, a second one appears beside it, and nothing is fetched from elsewhere."""
    pytest.importorskip("gradio")
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    process, url = start_page(base, steered, tmp_path / "log")
    try:
        assert url.startswith("http://127.0.0.1:")
        with open_browser(tmp_path / "profile") as driver:
            wait = WebDriverWait(driver, 60)
            driver.get(url)

            def sliders():
                return driver.find_elements(By.CSS_SELECTOR, "[id^=weight-] input[type=range]")

            def values():
                return [int(slider.get_attribute("value")) for slider in sliders()]

            def cards(kind=""):
                return driver.find_elements(By.CSS_SELECTOR, f".card{kind}")

            wait.until(lambda _: len(sliders()) == 2)
            assert values() == [50, 50]
            sliders()[0].send_keys(Keys.ARROW_RIGHT * 20)
            wait.until(lambda _: values() == [70, 30])
            driver.find_element(By.CSS_SELECTOR, "#prompt textarea").send_keys(PROMPT)
            driver.find_element(By.ID, "generate").click()
            wait.until(lambda _: len(cards(".current")) == 1)
            assert "70% brevity, 30% rich_vocabulary" in cards()[0].text and PROMPT in cards()[0].text
            driver.find_element(By.ID, "pin").click()
            wait.until(lambda _: len(cards(".pinned")) == 1)
            sliders()[1].send_keys(Keys.END)
            wait.until(lambda _: values() == [0, 100])
            driver.find_element(By.ID, "generate").click()
            wait.until(lambda _: len(cards()) == 2)
            answers = [card.find_element(By.CLASS_NAME, "answer").get_attribute("textContent") for card in cards()]
            expected = [desk.generate([], PROMPT, percents)[0].answer for percents in ((0, 100), (70, 30))]
            assert visible(answers) == visible(expected) and len(set(visible(expected))) == 2
            driver.find_element(By.ID, "alone").click()
            wait.until(lambda _: len(cards(".alone")) == 2)
            for width in (1280, 390):
                for scheme in ("light", "dark"):
                    look_like(driver, width, scheme)
                    wait.until(lambda _, dark=scheme == "dark": driver.execute_script(IS_DARK) == dark)
                    check_layout(driver, width, scheme)
            tops = [slider.rect["y"] for slider in sliders()]
            assert len(set(tops)) == 2, "in a narrow window each slider has a line of its own"
            hosts = "return [...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).hostname))]"
            assert driver.execute_script(hosts) == ["127.0.0.1"]
            driver.find_element(By.ID, "clear").click()
            wait.until(lambda _: not cards())
            # The other slider follows through the server; here the server is slower than the user.
            driver.set_network_conditions(latency=3000, download_throughput=10**7, upload_throughput=10**7)
            sliders()[0].send_keys(Keys.ARROW_RIGHT * 80)
            driver.find_element(By.ID, "generate").click()
            assert values() == [80, 100]
            wait.until(lambda _: len(cards(".current")) == 1)
            assert "80% brevity, 20% rich_vocabulary" in cards()[0].text
    finally:
        process.terminate()
        process.wait()
