"""The live page in headless Chromium against the real server under an A/B plan."""

import json
import re

import pytest

import api
import live_page
from server_process import DEADLINE_S, ServerProcess, wait_until
from unread_stream import HOLD_S, UnreadStream

KINDS = {"applied": api.admin.DECISION_KIND_APPLIED, "analyzed": api.admin.DECISION_KIND_ANALYZED}


class Page:
    """What a person sees and does."""

    def __init__(self, driver, server):
        self.driver = driver
        self.address = f"http://{server.address('http')}"
        driver.get(f"{self.address}/")

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])]"
                       ".map((element) => element.textContent)", selector)

    def connection(self):
        return self.js("return document.getElementById('connection').dataset.state")

    def await_generation(self, generation):
        wait_until(lambda: self.text("#generation") == str(generation),
                   f"the page shows generation {generation}")

    def choose(self, decision):
        self.js("document.querySelector(`#decision input[value=${arguments[0]}]`).click()",
                decision)

    def open_numbers(self):
        self.js("document.querySelectorAll('.numbers').forEach((part) => { part.open = true; })")

    def cells(self, arm):
        """{(layer, expert): selections} of the table of an arm."""
        cells = self.js("""
            return [...document.querySelectorAll(
                `.expert-arm[data-arm=${arguments[0]}] td[data-layer]`)].map((cell) =>
                [+cell.dataset.layer, +cell.dataset.expert, cell.textContent]);""", arm)
        return {(layer, expert): int(text.replace(",", "")) for layer, expert, text in cells}

    def readout(self, arm):
        return self.text(f".expert-arm[data-arm={arm}] .readout")

    def await_readout(self, arm, beginning):
        wait_until(lambda: self.readout(arm).startswith(beginning),
                   f"the numbers of {arm} begin with {beginning!r}")

    def distribution(self, arm):
        """{k: tokens} of the bars of an arm."""
        bars = self.js("""
            return [...document.querySelectorAll(
                `.expert-arm[data-arm=${arguments[0]}] .bar-k`)].map((bar) =>
                [+bar.dataset.k, +bar.dataset.tokens]);""", arm)
        return {k: tokens for k, tokens in bars if tokens > 0}

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requested(self):
        """The addresses that the page asked for so far."""
        events = [json.loads(entry["message"])["message"]
                  for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events
                if event["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="module", name="driver")
def _driver():
    with live_page.chromium() as driver:
        yield driver


@pytest.fixture(scope="module", name="server")
def _server(demo_folder, tmp_path_factory, driver):  # pylint: disable=unused-argument
    with ServerProcess(demo_folder) as server:
        live_page.build_calibration(server, tmp_path_factory.mktemp("live"))
        yield server


@pytest.fixture(name="experiment")
def _experiment(server, driver):
    """(page, its generation) of two arms that have both had requests, and are idle."""
    generation = int(live_page.patch_experiment(server)["current"]["generation"])
    live_page.set_size(driver, 1440, 1000)
    page = Page(driver, server)
    page.await_generation(generation)
    with live_page.traffic(server):
        wait_until(lambda: len(page.texts(".expert-arm .empty[hidden]")) == 2,
                   "both arms have experts")
    server.wait_until_idle()
    yield page, generation
    assert not page.complaints()


def counted(server, arm, decision):
    """What GetExpertStats says of the arm's policy, summed over phases."""
    current = server.admin.GetRouting(api.admin.GetRoutingRequest(), timeout=DEADLINE_S).current
    policy = next(a.policy.policy_id for a in current.plan.arms if a.arm_id == arm)
    stats = server.admin.GetExpertStats(
        api.admin.GetExpertStatsRequest(arm_ids=[arm], kinds=[KINDS[decision]]),
        timeout=DEADLINE_S)
    cells, ks = {}, {}
    for part in stats.arms:
        if part.policy_id != policy:
            continue
        for layer in part.layers:
            for expert, n in enumerate(layer.expert_tokens):
                cells[layer.layer, expert] = cells.get((layer.layer, expert), 0) + n
            for k, n in enumerate(layer.experts_per_token):
                ks[k] = ks.get(k, 0) + n
    return cells, {k: n for k, n in ks.items() if n > 0}


def test_the_plan_and_its_arms_are_told_in_words(experiment):
    page, _ = experiment
    assert page.connection() == "live"
    assert page.texts(".arm-card h3") == ["controlnative", "bhbh"]
    assert page.texts(".arm-card .policy") == [
        "the model's own top 8", "Benjamini-Hochberg, alpha 0.12, calibration fox"]
    assert page.texts(".arm-card .also") == [
        "analyzes Benjamini-Hochberg, alpha 0.12, calibration fox"]
    assert all("50.0% of traffic" in text for text in page.texts(".weight"))
    assert "does Benjamini-Hochberg need fewer experts?" in page.text("#plan-head")


def test_cells_are_those_of_get_expert_stats(server, experiment):
    page, _ = experiment
    page.open_numbers()
    for decision, arms in (("applied", ("control", "bh")), ("analyzed", ("control",))):
        page.choose(decision)
        for arm in arms:
            cells, ks = counted(server, arm, decision)
            assert len(cells) == 16 * 64
            wait_until(lambda: page.cells(arm) == cells,  # pylint: disable=cell-var-from-loop
                       f"the {decision} numbers of {arm}")
            assert page.distribution(arm) == ks
    assert "analyzes no rule" in page.text(".expert-arm[data-arm=bh] .empty")
    page.choose("applied")
    assert page.distribution("control").keys() == {8}


def test_banned_and_forced_experts_are_marked(server, driver):
    patched = server.ctl("patch", "--top-k", 8, "--ban", "5,9", "--force", "2", "--json")
    assert patched.returncode == 0, patched.stderr
    live_page.set_size(driver, 1440, 1000)
    page = Page(driver, server)
    page.await_generation(int(json.loads(patched.stdout)["current"]["generation"]))
    server.greedy([5, 6, 7], 3)
    page.open_numbers()

    def marked(name):
        return set(page.js("""
            return [...document.querySelectorAll(`td.${arguments[0]}`)].map((cell) =>
                +cell.dataset.expert);""", name))

    wait_until(lambda: marked("banned") == {5, 9} and marked("forced") == {2}, "the marks")
    cells = page.cells("default")
    tokens = max(cells.values())
    assert all(cells[layer, 2] == tokens and cells[layer, 5] == cells[layer, 9] == 0
               for layer in range(16))
    page.driver.find_element("css selector", "canvas[data-arm=default]").send_keys(
        *["\ue014"] * 6)  # arrow right
    page.await_readout("default", "layer 0, expert 5: 0 of ")
    assert page.readout("default").endswith("banned")
    assert not page.complaints()


def test_the_keyboard_reads_the_same_cell_of_every_arm(server, experiment):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page, _ = experiment
    keys = [Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN]
    page.driver.find_element(By.CSS_SELECTOR, "canvas[data-arm=control]").send_keys(*keys)
    for arm in ("control", "bh"):
        cells, _ = counted(server, arm, "applied")
        total = sum(cells[1, expert] for expert in range(64))
        page.await_readout(arm, f"layer 1, expert 2: {cells[1, 2]:,} of {total:,} selections")
        assert f"{cells[1, 2] * 64 / total:.2f}" in page.readout(arm)
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert "layer" not in page.readout("bh")


def test_the_mouse_reads_a_cell(server, experiment):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    page, _ = experiment
    canvas = page.driver.find_element(By.CSS_SELECTOR, "canvas[data-arm=bh]")
    page.js("arguments[0].scrollIntoView({ block: 'center' })", canvas)
    ActionChains(page.driver).move_to_element(canvas).perform()
    layer, expert = (int(word.strip(",:")) for word in page.readout("bh").split()[1:4:2])
    cells, _ = counted(server, "bh", "applied")
    assert 0 < layer < 15 and 0 < expert < 63
    page.await_readout("bh", f"layer {layer}, expert {expert}: {cells[layer, expert]:,} of ")


def test_rates_and_latencies_are_shown_under_traffic(server, experiment):
    page, _ = experiment

    def value(tile):
        return page.text(f"#tile-{tile} .tile-value")

    with live_page.traffic(server):
        wait_until(lambda: value("tokens") not in ("", "0.0", "\u2013")
                   and value("requests") not in ("", "0.0", "\u2013")
                   and value("ttft").endswith("s") and value("between").endswith("s"),
                   "all tiles have values")
        wait_until(lambda: len(page.js("""return [...document.querySelectorAll(
            '[data-chart^="Tokens"] polyline')]""")) >= 2, "a line for each arm")
    assert "none failed" in page.text("#tile-requests")


def test_rates_and_quantiles_are_those_of_promql(experiment):
    page, _ = experiment
    results = page.driver.execute_async_script("""
        const [done] = arguments;
        import("/live/history.js").then(({ History, quantile }) => {
          const history = new History();
          const add = (time, ok, ttft, start_time = 1) => history.add({
            time, server: { start_time }, swaps: [], plan: { arms: [{ arm: "a" }] },
            buckets: { ttft: [0.1, 0.2] },
            counters: [{ arm: "a", requests: { ok, failed: 0 }, ttft }] });
          const rate = () => history.rate(10, (counter) => counter.requests.ok);
          add(100, 7, [0, 0, 0]);
          const first = rate();
          add(104, 15, [3, 1, 0]);
          const second = [rate(), history.quantile(10, 0.5, "ttft").value];
          add(108, 5, [3, 1, 4]);                    // the arm began anew: 5 more
          const again = rate();
          add(200, 50, [3, 1, 4]);                   // nobody looked in between
          const gap = rate();
          add(202, 60, [3, 1, 4]);
          const after = rate();
          add(203, 1, [0, 0, 1], 2);                 // another process
          done([first, second, again, gap, after, rate(),
                quantile(0.5, [1, 2], [0, 0, 0]), quantile(0.25, [1, 2, 4], [0, 0, 4, 0]),
                quantile(0.99, [1, 2], [0, 1, 9])]);
        });""")
    assert results == [None, [2, 0.2 / 3], (8 + 5) / 8, None, 5, None,
                       None, {"value": 2.5, "beyond": False}, {"value": 2, "beyond": True}]


def test_a_swap_is_a_mark_on_every_chart(server, experiment):
    page, generation = experiment
    patched = live_page.patch_experiment(server, 0.3, "the next experiment")
    new = int(patched["current"]["generation"])
    assert new > generation
    page.await_generation(new)
    wait_until(lambda: len(page.texts(f".swap[data-generation='{new}']")) == 6, "six marks")
    assert "the next experiment" in page.text(f".swap[data-generation='{new}'] title")
    wait_until(lambda: "No traffic yet" in page.text(".expert-arm[data-arm=bh] .empty"),
               "a new policy begins with no experts")


def test_a_time_to_live_is_counted_down(server, experiment):
    page, _ = experiment
    assert server.ctl("patch", "--top-k", 4, "--ttl", "10m").returncode == 0
    wait_until(lambda: re.search(r"ends in \d min", page.text("#plan-head")), "the end is told")
    assert page.texts(".arm-card .policy") == ["top 4"]


def test_light_dark_and_narrow(experiment, driver):
    page, _ = experiment
    backgrounds = set()
    for theme in ("light", "dark"):
        live_page.set_theme(driver, theme)
        backgrounds.add(page.js("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
    for width in (1920, 800, 390, 320):
        live_page.set_size(driver, width, 900)
        page.open_numbers()
        wait_until(lambda: page.js("""
            return document.documentElement.scrollWidth <= innerWidth &&
                   [...document.querySelectorAll('canvas, svg')].every(
                       (part) => part.getBoundingClientRect().right <= innerWidth);"""),
                   f"nothing is wider than {width} pixels")


def test_nothing_is_asked_of_other_hosts(experiment):
    page, _ = experiment
    page.driver.refresh()
    asked = []

    def has_asked():
        asked.extend(page.requested())
        return any(url.endswith("experts.json") for url in asked)

    wait_until(has_asked, "the page asked for the experts")
    assert all(url.startswith(page.address) for url in asked), asked


def test_a_hidden_page_asks_for_nothing(experiment, driver):
    page, _ = experiment

    def page_is_quiet():
        page.requested()
        driver.execute_async_script("setTimeout(arguments[0], 3000)")
        return not [url for url in page.requested() if url.endswith(".json")]

    driver.switch_to.new_window("tab")
    other = driver.current_window_handle
    try:
        # The page of the first tab is hidden now; what it asks for is in the same log.
        wait_until(lambda: driver.execute_script("return document.visibilityState") == "visible",
                   "the new tab is in front")
        driver.get("about:blank")
        wait_until(page_is_quiet, "seconds without a request")
    finally:
        driver.switch_to.window(other)
        driver.close()
        driver.switch_to.window(driver.window_handles[0])
    page.requested()
    wait_until(lambda: any(url.endswith("live.json") for url in page.requested()),
               "the page asks again")


def test_a_lost_connection_is_told_and_heals(demo_folder, driver):
    with ServerProcess(demo_folder) as first:
        page = Page(driver, first)
        page.await_generation(1)
        port = first.ports["http"]
        first.terminate()
    wait_until(lambda: page.connection() == "lost", "the loss is told")
    assert "no connection to the server, last answer" in page.text("#connection")
    with ServerProcess(demo_folder, http_port=port) as second:
        wait_until(lambda: page.connection() == "live", "the connection is back")
        second.greedy([5, 6, 7], 3)
        wait_until(lambda: "5 tokens in each layer" in page.text(".expert-arm .hint"),
                   "the counts are those of the new server")
    page.complaints()  # the refused connections


def test_a_server_that_drains_says_so(demo_folder, driver):
    with ServerProcess(demo_folder, "--lame-duck", "3s") as server:
        page = Page(driver, server)
        page.await_generation(1)
        server.admin.Drain(api.admin.DrainRequest(), timeout=DEADLINE_S)
        wait_until(lambda: page.connection() == "draining", "the page says that it drains")


# Which texts of the page lie over each other, or leave their card. `large`: with all numbers as
# long as they get.
COLLISIONS = r"""
    const [large] = arguments;
    const longest = (text) => text === "\u2013" ? "> 60.0 s" : text.replace(/[\d.,]+/g,
        /[%s]/.test(text) ? "99.9" : "123,456");
    if (large) {
      document.querySelectorAll("dd, .tile-value").forEach((part) => {
        part.textContent = longest(part.textContent);
      });
    }
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
      const parent = node.parentElement;
      if (!node.textContent.trim() || parent.closest("script, noscript, svg, .unseen, .scroll")) {
        continue;
      }
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const box of range.getClientRects()) {
        if (box.width > 0) texts.push({ node, box, text: node.textContent.trim() });
      }
    }
    const found = [];
    texts.forEach(({ node, box, text }, i) => {
      const card = node.parentElement.closest("article, .tile, .chart, .expert-arm, body")
          .getBoundingClientRect();
      if (box.left < card.left || box.right > card.right) found.push(`${text} leaves its card`);
      for (const other of texts.slice(i + 1)) {
        const width = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
        const height = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
        // Line boxes of large and small letters in one line may touch.
        if (node !== other.node && width > 0.5 && height > 3) found.push(`${text} | ${other.text}`);
      }
    });
    return found;"""


def test_no_numbers_overlap_at_any_width_with_requests_in_the_queue(demo_folder, driver):
    with ServerProcess(demo_folder, "--max-batch-sequences", 1) as server:
        done = server.ctl("patch", "--arm", "control", "--weight", 50, "--arm",
                          "a-name-of-thirty-two-characters-", "--weight", 50, "--top-k", 2)
        assert done.returncode == 0, done.stderr
        with UnreadStream(server):
            calls = [server.stub.Generate.future(
                api.inference.GenerateRequest(text="Once", max_new_tokens=1, unit_id=f"u{i}"),
                timeout=HOLD_S) for i in range(50)]
            wait_until(lambda: server.status().queued_requests == 50, "50 requests wait")
            page = Page(driver, server)
            page.complaints()  # of the page before, whose server is gone
            wait_until(lambda: page.text("#tile-running .tile-more") == "50 queued",
                       "the page shows the queue")
            queued = page.js("""
                return [...document.querySelectorAll('dt')].filter((name) =>
                    name.textContent === 'queued').map((name) => +name.nextSibling.textContent);""")
            assert len(queued) == 2 and sum(queued) == 50
            for width in range(320, 1921, 40):
                live_page.set_size(driver, width, 1000)
                for large in (False, True):
                    assert not page.js(COLLISIONS, large), f"{width} pixels"
            for call in calls:
                call.cancel()
        assert not page.complaints()
