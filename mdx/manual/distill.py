"""Questions that a language model writes from pages of the manual, kept only if they check out.

The model is shown one page and must answer with JSON, each item with the words of the page that
hold the answer. An item is kept if those words are on the page, the answer stands in them, and no
wrong option does; then it passes the checks of the generated questions (`mdx.manual.checks`), too.
What the model knows beside the page is not trusted.

Not here: the way to the model and what it costs (`mdx.manual.endpoint`).
"""

import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import msgspec

from mdx.corpus.config import DistillConfig
from mdx.manual.endpoint import Reply, Request
from mdx.manual.frames import EXPLANATIONS
from mdx.manual.options import words_in
from mdx.manual.pages import ManualPage, plain
from mdx.manual.questions import ManualQuestion, question_id

KIND = "distilled"
_ASKED = """\
You write exam questions about LAMMPS. Use nothing but the manual page that the user sends. Answer \
with a JSON array of {count} objects and nothing else. Each object has these keys:
"type": "single_choice", "fill_blank" or "open_qa"
"question": understandable without the page; names the command or style; of a fill_blank it has ____
"options": four texts for a single_choice of which one is right, otherwise []
"answer": the right option, the word that is missing, or a sentence
"quote": one sentence or line of the page, copied word by word, that holds the answer"""
_FORMS = ("single_choice", "fill_blank", "open_qa")
_MIN_SUPPORT = 0.6  # of the words of an open answer, in its quote
_MIN_QUOTE_CHARS = 15
_CHINESE = re.compile("[\u4e00-\u9fff]")


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    question: str
    answer: str
    quote: str
    options: list[str] = []


def request_for(page: ManualPage, config: DistillConfig) -> Request:
    """Return what the model is asked about `page`."""
    asked = _ASKED.format(count=config.questions_per_page)
    return {
        "model": config.model,
        "messages": [
            {"role": "system", "content": asked},
            {"role": "user", "content": f"{page.title}\n\n{page.text}"[: config.max_page_chars]},
        ],
        "max_tokens": config.max_new_tokens,
        "temperature": 0.0,
    }


def pages_to_ask(pages: Sequence[ManualPage], config: DistillConfig) -> list[ManualPage]:
    """Return the pages with a description, in order, at most `max_pages`."""
    described = [page for page in pages if page.section("Description")[1].strip()]
    return described[: config.max_pages or None]


def questions_of(
    reply: Reply, page: ManualPage, seed: int, dropped: Counter[str]
) -> Iterator[ManualQuestion]:
    """Yield the questions of a reply whose answers the page supports; count the others."""
    if reply.refused:
        dropped["distilled: the endpoint refused the page"] += 1
        return
    try:
        begin, end = reply.text.index("["), reply.text.rindex("]") + 1
        items = json.loads(reply.text[begin:end])
    except ValueError:
        dropped["distilled: the reply is no JSON array"] += 1
        return
    for raw in items:
        try:
            item = msgspec.convert(raw, type=_Item)
        except msgspec.ValidationError:
            dropped["distilled: an item has other keys"] += 1
            continue
        quote = plain(item.quote)
        fault = _fault(item, quote, page)
        if fault:
            dropped[f"distilled: {fault}"] += 1
        else:
            yield _made(item, quote, page, seed)


def _fault(item: _Item, quote: str, page: ManualPage) -> str:
    """Return why the page does not support the item; empty if it does."""
    if item.type not in _FORMS or not item.question.strip() or not item.answer.strip():
        return "an item is not of a known form"
    if len(quote) < _MIN_QUOTE_CHARS or quote not in page.plain:
        return "the quote is not on the page"
    if item.type == "open_qa":
        said = words_in(item.answer)
        supported = len(said & words_in(quote)) >= _MIN_SUPPORT * len(said)
    else:
        supported = _occurs(item.answer, quote)
    if not supported:
        return "the quote does not hold the answer"
    if item.type == "fill_blank" and "____" not in item.question:
        return "the question has no blank"
    if item.type == "single_choice":
        if item.answer not in item.options or not 3 <= len(item.options) <= 6:
            return "the answer is not among the options"
        if any(o != item.answer and _occurs(o, quote) for o in item.options):
            return "the quote holds a wrong option"
    return ""


def _occurs(text: str, quote: str) -> bool:
    """Tell whether `text` stands in `quote` as whole words."""
    inside = re.escape(plain(text).lower().rstrip("."))
    return re.search(rf"(?<!\w){inside}(?!\w)", quote.lower()) is not None


def _made(item: _Item, quote: str, page: ManualPage, seed: int) -> ManualQuestion:
    options = list(item.options) if item.type == "single_choice" else []
    Random(f"{seed}/{item.question}").shuffle(options)  # models like to put the answer first
    letter = string.ascii_uppercase[options.index(item.answer)] if options else ""
    language = "zh" if _CHINESE.search(item.question) else "en"
    section = next((h for h, body in page.sections.items() if quote in plain(body)), page.title)
    return ManualQuestion(
        id=question_id(item.question, options),
        kind=KIND,
        type=item.type,
        question=item.question,
        options=tuple(options),
        answer=letter or item.answer,
        answer_text=item.answer,
        explanation=EXPLANATIONS[language].format(page=page.name, section=section, quote=quote),
        language=language,
        difficulty="unspecified",
        page=page.name,
        section=section,
        quote=quote,
        page_sha256=page.sha256,
        group=f"{KIND}/{page.name}",
    )
