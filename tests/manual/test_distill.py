"""Questions from a model behind an endpoint: a real HTTP server answers, only sound ones are kept.

The server speaks OpenAI's protocol and answers from the page that it is sent: three right items and
one of each kind of mistake.
"""

import json
import re
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mdx.corpus.config import DistillConfig, QuestionConfig
from mdx.errors import MdxError, UsageError
from mdx.manual.checks import fault_of
from mdx.manual.distill import questions_of
from mdx.manual.endpoint import Reply, ask_all
from tests.manual.test_command import config_of
from tests.manual.test_questions import BY_NAME, PAGES
from trainers.build_corpus import question_records

TOKENS_IN, TOKENS_OUT = 1000, 200


def items_of(page_text):
    """Return what a model might say of a page of the small manual."""
    name = re.search(r"^fix (\S+) command", page_text, re.MULTILINE)[1]
    quote = re.search(r"This fix is part of the [A-Z-]+ package\.", page_text)[0]
    package = quote.split()[-2]
    default = re.search(r"The option defaults are .*", page_text)[0]
    asked = f"What must be installed for `fix {name}`?"
    choice = {"type": "single_choice", "question": asked, "quote": quote, "answer": package}
    options = [package, "ALPHA", "BETA", "GAMMA"]
    blank = f"`fix {name}` belongs to the collection named ____."
    right = [
        {**choice, "options": options},
        {"type": "fill_blank", "question": blank, "answer": package, "quote": quote},
        {
            "type": "open_qa",
            "question": f"What are the option defaults of `fix {name}`?",
            "answer": default,
            "quote": default,
        },
    ]
    wrong = [
        {**choice, "options": options, "quote": quote.replace("part", "all")},
        {**choice, "options": ["DELTA", "ALPHA", "BETA"], "answer": "DELTA"},
        {**choice, "options": [package, "This fix", "BETA"]},
        {**choice, "options": ["ALPHA", "BETA", "GAMMA"]},
        {"type": "fill_blank", "question": "No gap.", "answer": package, "quote": quote},
        {"type": "essay", "question": asked, "answer": package, "quote": quote},
        {"question": asked},
    ]
    return [*right, *wrong]


class Endpoint(ThreadingHTTPServer):
    """Counts requests; answers the n-th with status `statuses[n]` where there is one."""

    daemon_threads = True

    def __init__(self, statuses):
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.num_requests, self.lock = dict(statuses), 0, threading.Lock()
        self.under_way = self.most_under_way = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        with self.server.lock:
            number = self.server.num_requests
            self.server.num_requests += 1
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.statuses.get(number)
        if self.server.statuses.get("after", 1 << 30) <= number:
            status = 401
        body = {"error": {"message": "not now"}}
        if status is None:
            status = 200
            text = f"Here:\n```json\n{json.dumps(items_of(request['messages'][1]['content']))}\n```"
            body = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": request["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": text},
                    }
                ],
                "usage": {
                    "prompt_tokens": TOKENS_IN,
                    "completion_tokens": TOKENS_OUT,
                    "total_tokens": TOKENS_IN + TOKENS_OUT,
                },
            }
        content = json.dumps(body).encode()
        with self.server.lock:
            self.server.under_way -= 1
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After", "0.01")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def endpoint(statuses=()):
    server = Endpoint(statuses)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def setting_of(server, **changes):
    return DistillConfig(
        base_url=f"http://127.0.0.1:{server.server_address[1]}/v1",
        model="small",
        max_concurrent=2,
        usd_per_million_in=3.0,
        usd_per_million_out=15.0,
        **changes,
    )


def distilled(config):
    records = question_records(config, lambda *_: None)
    return [r for split in records.values() for r in split if r["kind"] == "distilled"]


def test_sound_items_are_kept_paid_for_once_and_failures_are_tried_again(tmp_path):
    with endpoint({1: 500, 2: 429}) as server:
        config = config_of(tmp_path, questions=QuestionConfig(distill=setting_of(server)))
        (tmp_path / "out").mkdir()
        first = distilled(config)
        assert server.num_requests == len(PAGES) + 2
        assert server.most_under_way <= 2
        assert distilled(config) == first
        assert server.num_requests == len(PAGES) + 2  # all from the journal
    assert Counter(r["type"] for r in first) == {
        "single_choice": len(PAGES),
        "fill_blank": len(PAGES),
        "open_qa": len(PAGES),
    }
    for record in first:
        assert record["quote"] in BY_NAME[record["page"]].plain
    choice = next(r for r in first if r["type"] == "single_choice")
    assert choice["options"]["ABCD".index(choice["answer"])] == choice["answer_text"]
    report = json.loads((tmp_path / "out" / "questions.json").read_text())
    dropped = {k: v for k, v in report["dropped"].items() if k.startswith("distilled")}
    assert dropped == {
        "distilled: the quote is not on the page": len(PAGES),
        "distilled: the quote does not hold the answer": len(PAGES),
        "distilled: the quote holds a wrong option": len(PAGES),
        "distilled: the answer is not among the options": len(PAGES),
        "distilled: the question has no blank": len(PAGES),
        "distilled: an item is not of a known form": len(PAGES),
        "distilled: an item has other keys": len(PAGES),
    }
    cost = report["distillation"]["small"]
    assert cost["all"]["tokens_in"] == TOKENS_IN * len(PAGES)
    assert cost["all"]["usd"] == pytest.approx(len(PAGES) * (1000 * 3.0 + 200 * 15.0) / 1e6)
    assert cost["this_time"]["usd"] == 0


def test_an_endpoint_that_fails_loses_nothing_that_was_paid_for(tmp_path):
    with endpoint({"after": 3}) as server:
        config = config_of(tmp_path, questions=QuestionConfig(distill=setting_of(server)))
        (tmp_path / "out").mkdir()
        with pytest.raises(MdxError, match="the same command goes on"):
            distilled(config)
        server.statuses, before = {}, server.num_requests
        assert len(distilled(config)) == 3 * len(PAGES)
        assert server.num_requests - before == len(PAGES) - 3


def test_a_refused_page_and_a_reply_without_json_are_counted_and_the_rest_is_kept(tmp_path):
    with endpoint({0: 400}) as server:
        setting = setting_of(server, max_pages=2)
        config = config_of(tmp_path, questions=QuestionConfig(distill=setting))
        (tmp_path / "out").mkdir()
        assert len(distilled(config)) == 3
    report = json.loads((tmp_path / "out" / "questions.json").read_text())
    assert report["dropped"]["distilled: the endpoint refused the page"] == 1
    dropped: Counter[str] = Counter()
    assert not list(questions_of(Reply(key="", text="I cannot."), PAGES[0], 0, dropped))
    assert dropped == {"distilled: the reply is no JSON array": 1}


def test_distilled_questions_pass_the_checks_of_the_others():
    text = json.dumps(items_of(PAGES[0].text))
    for question in questions_of(Reply(key="", text=text), PAGES[0], 0, Counter()):
        assert fault_of(question, PAGES[0]) == ""
        assert fault_of(replace(question, quote="not there"), PAGES[0])


def test_without_a_model_the_command_says_so(tmp_path):
    setting = DistillConfig(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match="must name the model"):
        ask_all([], setting, str(tmp_path), lambda *_: None)
