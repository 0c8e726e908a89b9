"""The site's own search: what people type leads to the right page, among the first three.

The queries are words of the field, their synonyms, and questions in sentences. A message that is
pasted leads to the section that explains it: `pastes.txt` has what programs with these errors
printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

DECAY, GROUPS, HAND = ("01-decay-theory", "02-per-layer-rates", "03-manual-schedules")
TORCH, PLATEAU, DROPOUT = ("04-built-in-schedulers", "05-plateau-reduction", "06-lr-dropout")
MUSEUM, GUIDE = f"{TORCH}/bug-museum", f"{TORCH}/field-guide"
WHICH, TOURNAMENT = f"{TORCH}/which-schedule", f"{TORCH}/which-one-wins"
FINE_TUNING, WIDTHS = f"{GROUPS}/fine-tuning", f"{GROUPS}/across-widths"
RESUME, DESIGN = f"{HAND}/resume-and-test", f"{HAND}/design-your-own"
FINDING, ADAMW = ("07-finding-a-rate", "08-adamw-and-warmup")
TRANSFORMER = f"{ADAMW}/small-transformer"
STEPS, BEYOND = "09-steps-batches-devices", "10-beyond-the-schedule"
FRAMEWORKS, OWN = f"{STEPS}/frameworks", f"{STEPS}/in-your-framework"
KINDS = f"{GROUPS}/kinds-of-parameters"
GLOSSARY, BROKEN = "book/glossary", "book/symptoms"

# What is typed, and the pages that answer it.
QUERIES = {
    # Classes and arguments.
    "CosineAnnealingLR": (GUIDE, f"{TORCH}/cosine"),
    "CosineAnnealingWarmRestarts": (GUIDE, MUSEUM),
    "OneCycleLR": (GUIDE, MUSEUM),
    "OneCycleLR momentum": (GUIDE, MUSEUM),
    "CyclicLR": (GUIDE, MUSEUM),
    "LambdaLR": (GUIDE, MUSEUM),
    "MultiplicativeLR": (GUIDE, MUSEUM),
    "StepLR": (GUIDE,),
    "MultiStepLR milestones": (GUIDE, MUSEUM),
    "ExponentialLR gamma": (GUIDE, MUSEUM),
    "PolynomialLR": (GUIDE, MUSEUM),
    "LinearLR warmup": (GUIDE, MUSEUM, TRANSFORMER),
    "ConstantLR": (GUIDE, MUSEUM),
    "SWALR": (GUIDE, MUSEUM),
    "SequentialLR": (MUSEUM, GUIDE, f"{TORCH}/index"),
    "ChainedScheduler": (MUSEUM, GUIDE, f"{TORCH}/index"),
    "ReduceLROnPlateau patience": (f"{PLATEAU}/index", f"{PLATEAU}/anatomy"),
    "ReduceLROnPlateau threshold": (f"{PLATEAU}/index", f"{PLATEAU}/anatomy", GUIDE),
    "ReduceLROnPlateau min_lr": (f"{PLATEAU}/index", f"{PLATEAU}/anatomy", GUIDE, MUSEUM),
    "T_max": (f"{TORCH}/cosine", GUIDE, MUSEUM, f"{TORCH}/index"),
    "eta_min": (GUIDE, f"{TORCH}/cosine", f"{TORCH}/index", MUSEUM),
    "last_epoch": (MUSEUM, GUIDE, f"{TORCH}/index"),
    "get_last_lr": (MUSEUM, f"{TORCH}/index"),
    "add_param_group": (MUSEUM, f"{GROUPS}/parameter-groups"),
    "load_state_dict scheduler": (MUSEUM, f"{TORCH}/index", RESUME),
    "param_groups": (f"{GROUPS}/parameter-groups", f"{GROUPS}/index"),
    # The words of the field.
    "why decay the learning rate": (f"{DECAY}/index", f"{DECAY}/noise-floor"),
    "which schedule": (WHICH, TOURNAMENT),
    "best learning rate schedule": (WHICH, TOURNAMENT),
    "warmup": (WHICH, DESIGN, f"{TORCH}/cosine", GLOSSARY),
    "WSD": (WHICH, GLOSSARY, DESIGN),
    "warmup stable decay": (WHICH, GLOSSARY, DESIGN, TOURNAMENT),
    "linear decay to zero": (WHICH, TOURNAMENT),
    "cosine restarts": (f"{TORCH}/cosine", GUIDE, WHICH),
    "1/t decay": (f"{DECAY}/index", f"{DECAY}/noise-floor"),
    "inverse square root schedule": (DESIGN, GLOSSARY, "book/lrlib", f"{HAND}/index"),
    "noise floor": (f"{DECAY}/noise-floor", f"{DECAY}/index", GLOSSARY),
    "gradient noise": (f"{DECAY}/index", f"{DECAY}/noise-floor", GLOSSARY),
    "stability limit": (f"{DECAY}/step-size", f"{DECAY}/index", GLOSSARY),
    "edge of stability": (f"{DECAY}/a-real-network", f"{DECAY}/index", GLOSSARY),
    "sharpness": (f"{DECAY}/a-real-network", f"{DECAY}/index", GLOSSARY),
    "condition number": (f"{DECAY}/step-size", f"{DECAY}/index", GLOSSARY),
    "effective learning rate momentum": (f"{DECAY}/step-size", f"{DECAY}/index", GLOSSARY),
    "linear scaling batch size": (f"{DECAY}/noise-floor", f"{DECAY}/index"),
    "weight averaging EMA": (f"{BEYOND}/averages", f"{BEYOND}/index", f"{DECAY}/noise-floor"),
    "extend training after a cosine schedule": (f"{BEYOND}/going-on", f"{BEYOND}/index"),
    "schedule-free optimizer": (f"{BEYOND}/averages", f"{BEYOND}/index", GLOSSARY),
    "SWA": (GLOSSARY, GUIDE, f"{DECAY}/noise-floor"),
    "weight decay groups": (f"{GROUPS}/parameter-groups", f"{GROUPS}/index"),
    "AdamW weight decay bias norm": (f"{GROUPS}/parameter-groups", f"{GROUPS}/index"),
    "layer-wise learning rate decay": (f"{GROUPS}/parameter-groups", FINE_TUNING, GLOSSARY),
    "discriminative learning rates": (FINE_TUNING, f"{GROUPS}/index", GLOSSARY),
    "fine-tuning": (FINE_TUNING, f"{GROUPS}/index"),
    "freeze layers": (f"{GROUPS}/parameter-groups", f"{GROUPS}/index", FINE_TUNING, GLOSSARY),
    "muP": (WIDTHS, f"{GROUPS}/index", GLOSSARY),
    "maximal update parametrization": (WIDTHS, f"{GROUPS}/index", GLOSSARY),
    "resume training": (RESUME, MUSEUM, f"{HAND}/index"),
    "checkpoint scheduler": (RESUME, MUSEUM, f"{TORCH}/index"),
    "set learning rate manually": (f"{HAND}/by-hand", f"{HAND}/index"),
    "scheduler step per batch or per epoch": (f"{HAND}/by-hand", MUSEUM, f"{HAND}/index"),
    "plateau": (f"{PLATEAU}/index", f"{PLATEAU}/anatomy"),
    "NaN loss": (BROKEN, MUSEUM, f"{PLATEAU}/when-it-fails", GLOSSARY),
    "loss diverges": (f"{DECAY}/step-size", f"{DECAY}/index", GLOSSARY, MUSEUM),
    "learning rate dropout": (f"{DROPOUT}/index", f"{DROPOUT}/mechanism"),
    "replication": (f"{DROPOUT}/the-missing-point", f"{DROPOUT}/index"),
    "GradScaler": (MUSEUM,),
    "warmup then cosine": (f"{TORCH}/index", WHICH),
    "lower the learning rate when the loss stops improving": (f"{PLATEAU}/index",),
    "which learning rate do I start with": (f"{FINDING}/start-here",),
    "default learning rate AdamW": (f"{FINDING}/start-here", f"{ADAMW}/index"),
    "LoRA learning rate": (f"{FINDING}/start-here", KINDS, GLOSSARY),
    "fine-tune a ViT learning rate": (f"{FINDING}/start-here",),
    "fine-tune BERT AdamW": (f"{FINDING}/start-here",),
    "coordinate check": (KINDS, f"{GROUPS}/index", GLOSSARY),
    "Muon": (KINDS, f"{GROUPS}/index", f"{FINDING}/start-here", GLOSSARY),
    "range test": (f"{FINDING}/range-test", f"{FINDING}/index", GLOSSARY),
    "hyperparameter search learning rate": (f"{FINDING}/search-plan", f"{FINDING}/index"),
    "random search": (f"{FINDING}/search-plan", GLOSSARY),
    "gradient clipping": (f"{FINDING}/read-the-curve", f"{FINDING}/index", GLOSSARY),
    "loss curve": (f"{FINDING}/read-the-curve", f"{FINDING}/index", BROKEN),
    "AdamW vs Adam weight decay": (f"{ADAMW}/from-sgd-to-adamw", f"{ADAMW}/index"),
    "batch size Adam square root": (f"{ADAMW}/from-sgd-to-adamw", f"{ADAMW}/index"),
    "do I need a scheduler with Adam": (TRANSFORMER, f"{ADAMW}/index"),
    "why warmup": (f"{ADAMW}/why-warmup", f"{ADAMW}/index"),
    "transformer learning rate schedule": (TRANSFORMER, f"{ADAMW}/index", WHICH),
    "gradient accumulation": (f"{STEPS}/which-step", f"{STEPS}/index"),
    "DistributedDataParallel learning rate": (f"{STEPS}/which-step", f"{STEPS}/index"),
    "Lightning learning rate per step or per epoch": (FRAMEWORKS, f"{STEPS}/index", OWN),
    "estimated_stepping_batches": (FRAMEWORKS, f"{STEPS}/index", OWN),
    "LearningRateMonitor": (FRAMEWORKS, OWN, BROKEN),
    "Accelerate scheduler steps too fast on several GPUs": (FRAMEWORKS, f"{STEPS}/index", OWN),
    "Trainer warmup_steps gradient accumulation": (FRAMEWORKS, f"{STEPS}/index", OWN),
    "timm step_update": (FRAMEWORKS, OWN),
    "Ignite LRScheduler": (FRAMEWORKS, OWN),
    "step calculator": (f"{STEPS}/index", FRAMEWORKS),
    # Symptoms, as they are typed.
    "loss is NaN": (BROKEN,),
    "loss becomes NaN after 200 steps with AdamW": (BROKEN,),
    "I doubled my GPUs, which learning rate": (BROKEN, f"{STEPS}/index"),
    "loss not decreasing": (BROKEN,),
    "loss stuck": (BROKEN,),
    "loss spikes": (BROKEN,),
    "loss oscillates": (BROKEN,),
    "learning rate is 0": (BROKEN,),
    "learning rate not changing": (BROKEN,),
    "loss jumps after resuming": (BROKEN,),
    "multi GPU worse accuracy": (BROKEN, f"{STEPS}/index", f"{STEPS}/which-step"),
    "validation loss fluctuates": (BROKEN,),
    "accuracy jumps when learning rate drops": (BROKEN,),
    "gradient accumulation scheduler": (BROKEN, f"{STEPS}/index", f"{STEPS}/which-step"),
    "training loss drops at each epoch": (BROKEN,),
    # Questions, as they are typed.
    "HF Trainer: my lr goes to 0 too early with gradient accumulation": (FRAMEWORKS,),
    "learning rate goes to 0 too early": (BROKEN,),
    "lr goes to 0 too early": (BROKEN,),
    "NaN after warmup": (BROKEN,),
    "OneCycleLR ValueError: Tried to step": (BROKEN, MUSEUM),
    "Tried to step": (BROKEN, MUSEUM),
    "LoRA vs full fine-tuning": (f"{FINDING}/start-here", KINDS),
    "ReduceLROnPlateau never triggers": (BROKEN,),
    "ReduceLROnPlateau never triggers in Lightning": (BROKEN,),
    "resume training with cosine schedule for more epochs": (f"{BEYOND}/index",),
    "should I use linear or sqrt scaling when I double the batch size": (f"{FINDING}/start-here",),
    "linear or sqrt scaling": (f"{STEPS}/index", f"{STEPS}/batch-and-rate"),
    "double the batch size": (f"{FINDING}/start-here", f"{STEPS}/batch-and-rate"),
    "do I need warmup": (WHICH,),
    "do I need warmup for a small CNN with SGD": (WHICH,),
    "EMA evaluates worse than model": (f"{BEYOND}/averages", f"{BEYOND}/index"),
    "muon learning rate vs adamw": (f"{FINDING}/start-here", KINDS),
}


# Questions in their own words, which the search was made for.
QUESTIONS = {
    "ReduceLROnPlateau never lowers the rate": (BROKEN,),
    "finetune": (FINE_TUNING, f"{FINDING}/start-here", f"{GROUPS}/index"),
    "finetuning": (FINE_TUNING, f"{FINDING}/start-here", f"{GROUPS}/index"),
    "vit": (f"{FINDING}/start-here", WHICH, FINE_TUNING),
    "I doubled my GPUs, which rate": (
        f"{FINDING}/start-here",
        f"{STEPS}/index",
        f"{STEPS}/batch-and-rate",
        BROKEN,
    ),
    "my training stopped after the cosine reached zero, I want 10 more epochs": (
        f"{BEYOND}/index",
        f"{BEYOND}/going-on",
    ),
    "weight decay on biases and LayerNorm": (
        f"{GROUPS}/index",
        f"{GROUPS}/parameter-groups",
        KINDS,
    ),
    "can I trust an LR finder": (f"{FINDING}/index", f"{FINDING}/range-test"),
    "which rate and schedule to fine-tune a ViT with AdamW": (
        f"{FINDING}/start-here",
        WHICH,
        FINE_TUNING,
    ),
    "how long should my warmup be": (f"{FINDING}/start-here", f"{ADAMW}/why-warmup"),
    "loss becomes NaN after 200 steps with AdamW": (BROKEN,),
    "which scheduler should I use with AdamW for a transformer": (WHICH, TRANSFORMER),
    "how do I find a good learning rate quickly": (
        f"{FINDING}/index",
        f"{FINDING}/start-here",
        f"{FINDING}/range-test",
        f"{FINDING}/search-plan",
    ),
    "my learning rate stays the same the whole time": (BROKEN,),
    "why is the loss much lower right after I drop the learning rate": (
        BROKEN,
        f"{DECAY}/index",
        f"{DECAY}/noise-floor",
    ),
    "how do I see which learning rate Lightning really uses": (FRAMEWORKS, OWN, BROKEN),
    "my loss goes up right at the start, what is wrong": (BROKEN,),
    "can I use the same learning rate for a bigger model": (WIDTHS, f"{GROUPS}/index", KINDS),
    "should the learning rate go all the way down to zero": (
        TRANSFORMER,
        WHICH,
        TOURNAMENT,
        f"{ADAMW}/index",
    ),
    "get_cosine_schedule_with_warmup": (WHICH,),
    "get_linear_schedule_with_warmup": (WHICH,),
    "cosine schedule with warmup": (WHICH,),
    "T_max epochs or steps": (BROKEN,),
    "AMP": (f"{STEPS}/index", GLOSSARY),
    "NaN with AMP": (BROKEN,),
    "my loss is NaN after 300 steps with AdamW and AMP": (BROKEN,),
    "NaN after 300 steps with AdamW and AMP": (BROKEN,),
    "NaN autocast float16": (BROKEN,),
    "loss goes up again after lr restart": (BROKEN,),
    "I resume from a checkpoint and the LR starts again from the warmup": (BROKEN,),
    "gradient accumulation 8, 2 GPUs, when to call scheduler.step(), total_steps": (BROKEN,),
}

# Questions that it was not made for: keep them so, and add those that are asked. Some may miss.
UNSEEN = {
    "how do I use a smaller learning rate for the pretrained layers": (
        FINE_TUNING,
        f"{GROUPS}/index",
        f"{GROUPS}/parameter-groups",
    ),
    "does Adam need learning rate decay": (f"{ADAMW}/index", TRANSFORMER),
    "should I call scheduler.step after every batch": (
        f"{HAND}/by-hand",
        f"{HAND}/index",
        MUSEUM,
        f"{STEPS}/which-step",
        f"{STEPS}/index",
    ),
    "how many steps does my scheduler count with gradient accumulation": (
        f"{STEPS}/index",
        f"{STEPS}/which-step",
        FRAMEWORKS,
    ),
    "what happens to the learning rate when I resume from a checkpoint": (
        RESUME,
        f"{HAND}/index",
        FRAMEWORKS,
        BROKEN,
        MUSEUM,
    ),
    "is OneCycleLR better than cosine": (TOURNAMENT, WHICH, TRANSFORMER),
    "what patience should I use for a noisy validation loss": (
        f"{PLATEAU}/index",
        f"{PLATEAU}/when-it-fails",
    ),
    "how to freeze the backbone and unfreeze it later": (
        f"{GROUPS}/index",
        f"{GROUPS}/parameter-groups",
        BROKEN,
    ),
    "model is worse after I load it to continue training": (BROKEN, RESUME, f"{BEYOND}/going-on"),
    "what rate should I try first for LoRA": (f"{FINDING}/start-here", KINDS),
    "validation loss goes up but training loss goes down": (BROKEN,),
    "do I have to change the learning rate if I use a larger batch": (
        f"{FINDING}/start-here",
        f"{STEPS}/index",
        f"{STEPS}/batch-and-rate",
    ),
    "how can I tell from the loss curve that my rate is too high": (
        f"{FINDING}/read-the-curve",
        f"{FINDING}/index",
        BROKEN,
        f"{FINDING}/start-here",
    ),
    "how do I average the weights at the end of training": (
        f"{BEYOND}/averages",
        f"{BEYOND}/index",
    ),
    "is half a point of accuracy between two schedules real or just noise": (
        TOURNAMENT,
        f"{DROPOUT}/index",
    ),
    "keep training on new data after the run has finished": (
        f"{BEYOND}/going-on",
        f"{BEYOND}/index",
    ),
}

SOME_HUNDRED = "the-loss-becomes-nan-after-some-hundred-steps"

# The section that is listed first.
SECTIONS = {
    "ReduceLROnPlateau never lowers the rate": "reducelronplateau-never-lowers-the-rate",
    "how long should my warmup be": "how-long-is-the-warmup",
    "loss becomes NaN after 200 steps with AdamW": SOME_HUNDRED,
    "my loss is NaN after 300 steps with AdamW and AMP": SOME_HUNDRED,
    "NaN after 300 steps with AdamW and AMP": SOME_HUNDRED,
    "NaN with AMP": SOME_HUNDRED,
    "NaN autocast float16": SOME_HUNDRED,
    "loss goes up again after lr restart": "the-loss-rises-at-the-end-of-training",
    "my loss goes up right at the start, what is wrong": "the-loss-rises-from-the-first-step",
    "I resume from a checkpoint and the LR starts again from the warmup": "worse-after-resuming",
    "gradient accumulation 8, 2 GPUs, when to call scheduler.step(), total_steps": (
        "worse-with-gradient-accumulation"
    ),
    "T_max epochs or steps": (
        "typeerror-cosineannealinglr-init-missing-1-required-positional-argument-t-max"
    ),
    "which scheduler should I use with AdamW for a transformer": "with-adamw-on-a-transformer",
}


# Addresses, and what is pasted; without an address, what the book doesn't explain.
PASTES = re.findall(
    r"^=== ?(.*)\n((?:(?!===).*\n)+)",
    Path(__file__).with_name("pastes.txt").read_text(encoding="utf-8"),
    re.M,
)

# What the search lists, in its order, without waiting until the page has drawn it line by line.
ASK = """query => Search._performSearch(...Search._parseQuery(query)).reverse()
    .map(([page, , anchor]) => page + anchor)"""


@pytest.fixture(scope="module")
def search(browser: Browser, address: str) -> Iterator[Page]:
    page = browser.new_page()
    # The excerpts below the results need each page that was found.
    page.route(re.compile(r"(?<!search)\.html(#.*)?$"), lambda route: route.abort())
    page.goto(f"{address}search.html?q=warmup")
    page.locator("#search-results li > a").nth(9).wait_for()
    yield page
    page.close()


def ask(search: Page, query: str) -> list[str]:
    return search.evaluate(ASK, " ".join(query.splitlines()))


def test_what_people_type_leads_to_the_right_page(search: Page, address: str) -> None:
    shown = search.locator("#search-results li > a").evaluate_all("all => all.map(a => a.href)")
    drawn = [link.removeprefix(address).replace(".html", "") for link in shown[:10]]
    assert drawn == ask(search, "warmup")[:10]
    missed = misses(search, QUERIES)
    assert not missed, "\n".join([f"{len(missed)} of {len(QUERIES)} miss:", *missed])


def misses(search: Page, queries: dict[str, tuple[str, ...]]) -> list[str]:
    missed = []
    for query, wanted in queries.items():
        first = list(dict.fromkeys(one.split("#")[0] for one in ask(search, query)))[:3]
        if not {one.removeprefix("chapters/") for one in first} & set(wanted):
            missed.append(f"{query}: {', '.join(first) or 'nothing'}")
    return missed


def test_a_question_leads_to_the_right_page_and_section(search: Page, site: Path) -> None:
    missed = misses(search, QUESTIONS)
    assert not missed, "\n".join([f"{len(missed)} of {len(QUESTIONS)} miss:", *missed])
    missed = misses(search, UNSEEN)
    assert len(missed) <= 1, "\n".join([f"{len(missed)} of {len(UNSEEN)} miss:", *missed])
    for query in (*QUESTIONS, *UNSEEN):
        shown = ask(search, query)
        assert len(set(shown)) == len(shown)
        assert SECTIONS.get(query) in (None, shown[0].partition("#")[2])
        for address in shown[:5]:
            page, _, anchor = address.partition("#")
            text = (site / f"{page}.html").read_text(encoding="utf-8")
            assert not anchor or f'id="{anchor}"' in text, f"{query}: {address}"


def test_an_entry_of_symptoms_leads_to_its_heading(search: Page) -> None:
    """And the result names it."""
    index = search.evaluate("[Search._index.docnames, Search._index.indexentries]")
    ids = [
        one for places in index[1].values() for page, one, _ in places if index[0][page] == BROKEN
    ]
    assert len(ids) > 30
    assert {one for one in ids if one.startswith("index-")} == {"index-0"}, "the page's own"
    title = "query => Search._performSearch(...Search._parseQuery(query)).at(-1)[1]"
    assert search.evaluate(title, "NaN with AMP").endswith("NaN after some hundred steps")


def test_a_hyphen_changes_nothing(search: Page) -> None:
    for one, other in (("fine-tune", "finetune"), ("post-norm", "postnorm")):
        assert ask(search, one)[0] == ask(search, other)[0]


def test_a_paste_leads_first_to_what_explains_it_and_to_nothing_else(search: Page) -> None:
    assert sum(bool(wanted) for wanted, _ in PASTES) > 40
    messages = "query => messagesIn(query).map(({ page, anchor }) => `${page}#${anchor}`)"
    missed = []
    for wanted, text in PASTES:
        found = list(dict.fromkeys(search.evaluate(messages, text)))
        shown = ask(search, text)
        if found != wanted.split() or shown[: len(found)] != found or not shown:
            missed.append(f"{text[-80:]!r}: {found or 'no message'}, shown {shown[:3]}")
        assert len(set(shown)) == len(shown)
    assert not missed, "\n".join([f"{len(missed)} of {len(PASTES)} miss:", *missed])


def test_every_message_is_found_with_other_numbers_in_a_log(search: Page) -> None:
    """At the first section that has it; for a part of a longer message, at the whole one."""
    wanted: dict[str, str] = {}
    for page, anchor, texts in search.evaluate("MESSAGES"):
        for text in texts:
            wanted.setdefault(text, f"{page}#{anchor}")
    missed = []
    for text, address in wanted.items():
        other = re.sub(r"\b\d+", lambda number: f"{int(number[0]) + 17}", text)
        first = ask(search, f'File "/home/me/train.py", line 12, in train() [1m{other}[0m')[0]
        longer = any(text in one for one, other in wanted.items() if other == first)
        if not longer:
            missed.append(f"{text}: {first}, not {address}")
    assert len(wanted) > 100
    assert not missed, "\n".join([f"{len(missed)} of {len(wanted)} miss:", *missed])


def test_what_is_no_message_is_not_taken_for_one(search: Page) -> None:
    """All queries above, and all titles and index entries of the book."""
    titles = search.evaluate("Object.keys(Search._index.alltitles)")
    entries = search.evaluate("Object.keys(Search._index.indexentries)")
    name = re.compile(r"(Error|Exception|Warning)\b|^tried to get lr")
    others = [
        one for one in (*QUERIES, *QUESTIONS, *UNSEEN, *titles, *entries) if not name.search(one)
    ]
    assert len(others) > 800
    taken = "queries => queries.filter(query => messagesIn(query).length)"
    assert search.evaluate(taken, others) == []


def test_pages_with_most_of_the_words_if_no_page_has_all(browser: Browser, address: str) -> None:
    page = browser.new_page()
    for query, said, count in (
        ("Polyak step size for a ResNet-50 with batch norm and momentum", "No page has all", 5),
        ("qwertz", "did not match any", 0),
    ):
        page.goto(f"{address}search.html?q={query}")
        page.get_by_text(said).wait_for()
        shown = page.locator("#search-results li > a")
        assert shown.count() == count
        if count:
            # The rarest word is there.
            links = shown.evaluate_all("all => all.map(a => a.href.split(`#`)[0])")
            assert f"{address}chapters/{DECAY}/index.html" in links[:3]
    page.close()


def test_a_traceback_can_be_pasted_into_the_field(browser: Browser, address: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{address}search.html")
    wanted, text = PASTES[0]
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.locator("form.bd-search input:visible").first.click()
    page.keyboard.press("Control+V")
    page.keyboard.press("Enter")
    # The words of the log are marked neither here nor there.
    page.locator("#search-results .context").first.wait_for()
    assert page.locator(".highlighted").count() == 0
    page.locator("#search-results li > a").first.click()
    page.wait_for_url(f"**/{wanted.replace('#', '.html#')}")
    page.wait_for_timeout(100)
    assert page.locator(".highlighted").count() == 0
    context.close()


def test_a_question_shows_its_section_without_marking_small_words(
    browser: Browser, address: str
) -> None:
    page = browser.new_page()
    page.goto(f"{address}search.html?q=I doubled my GPUs, which rate")
    first = page.locator("#search-results li").first
    first.locator(".context", has_text="When you change the batch size").wait_for()
    first.locator("a").click()
    page.wait_for_url(f"**/{FINDING}/start-here.html#when-you-change-the-batch-size")
    marked = page.locator(".highlighted")
    marked.first.wait_for()
    assert "i" not in {text.lower() for text in marked.all_inner_texts()}
    assert page.get_by_role("heading", name="When you change the batch size").is_visible()
    page.close()
