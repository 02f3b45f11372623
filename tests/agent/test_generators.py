"""Generators: a real HTTP server stands where an endpoint would, stored answers play in order."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from agent.generators import EndpointGenerator, LocalGenerator, ReplayGenerator
from mdx.errors import MdxError, UsageError

MESSAGES = [{"role": "user", "content": "Relax copper."}]


class Endpoint(ThreadingHTTPServer):
    """Answers each request with the next of `replies` (status, body) and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[tuple[int, bytes]] = []
        self.requests: list[tuple[str, str | None, dict]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, *texts: str) -> None:
        for text in texts:
            message = {"choices": [{"message": {"role": "assistant", "content": text}}]}
            self.replies.append((200, json.dumps(message).encode()))


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"], body))
        status, reply = self.server.replies.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_endpoint_is_asked_once_a_candidate_in_openai_format(endpoint: Endpoint) -> None:
    endpoint.answer("first", "second")
    generator = EndpointGenerator(endpoint.url, "m", api_key="key", temperature=0.3)

    assert generator.generate(MESSAGES, num_candidates=2, seed=5) == ["first", "second"]
    paths, keys, bodies = zip(*endpoint.requests, strict=True)
    assert set(paths) == {"/v1/chat/completions"}
    assert set(keys) == {"Bearer key"}
    assert [body["messages"][-1] for body in bodies] == [MESSAGES[0], MESSAGES[0]]
    assert bodies[0]["model"] == "m"
    assert bodies[0]["temperature"] == 0.3
    assert bodies[0]["seed"] != bodies[1]["seed"]


def test_busy_endpoint_is_asked_again(endpoint: Endpoint) -> None:
    endpoint.replies += [(503, b"busy"), (429, b"slow down")]
    endpoint.answer("done")
    generator = EndpointGenerator(endpoint.url, "m", retry_delays_s=(0.0, 0.0))

    assert generator.generate(MESSAGES, num_candidates=1, seed=0) == ["done"]
    assert len(endpoint.requests) == 3


def test_refusal_is_one_line_and_is_not_repeated(endpoint: Endpoint) -> None:
    endpoint.replies.append((401, b"no"))
    generator = EndpointGenerator(endpoint.url, "m", retry_delays_s=(0.0,))

    with pytest.raises(MdxError, match="refused: 401"):
        generator.generate(MESSAGES, num_candidates=1, seed=0)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("reply", [b"not json", b"{}", b'{"choices": []}', b"[1]"])
def test_answer_in_another_format_is_named(endpoint: Endpoint, reply: bytes) -> None:
    endpoint.replies.append((200, reply))

    with pytest.raises(MdxError, match="must answer as OpenAI's"):
        EndpointGenerator(endpoint.url, "m").generate(MESSAGES, num_candidates=1, seed=0)


def test_endpoint_that_is_not_there_is_named_after_the_retries() -> None:
    with Endpoint() as gone:
        url = gone.url
    generator = EndpointGenerator(url, "m", retry_delays_s=(0.0,))

    with pytest.raises(MdxError, match=f"{url}/chat/completions does not answer"):
        generator.generate(MESSAGES, num_candidates=1, seed=0)


def test_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="http"):
        EndpointGenerator("localhost:8000", "m")


def test_replay_plays_each_answer_once_and_says_when_they_are_used_up() -> None:
    generator = ReplayGenerator(["a", "b", "c"])

    assert generator.generate(MESSAGES, num_candidates=2, seed=0) == ["a", "b"]
    assert generator.generate(MESSAGES, num_candidates=1, seed=0) == ["c"]
    with pytest.raises(UsageError, match="used up"):
        generator.generate(MESSAGES, num_candidates=1, seed=0)


def test_local_model_answers_by_its_seed_and_differs_between_candidates(tiny_model: str) -> None:
    generator = LocalGenerator(tiny_model, temperature=1.0)
    first = generator.generate(MESSAGES, num_candidates=3, seed=1)

    assert len(set(first)) == 3
    assert generator.generate(MESSAGES, num_candidates=3, seed=1) == first
    assert generator.generate(MESSAGES, num_candidates=3, seed=2) != first


def test_request_longer_than_the_context_is_refused_with_its_length(tiny_model: str) -> None:
    generator = LocalGenerator(tiny_model, max_new_tokens=16)
    long_request = [{"role": "user", "content": "copper " * 500}]

    assert generator.fits(MESSAGES)
    assert not generator.fits(long_request)
    with pytest.raises(UsageError, match=r"reads at most 496: say it in fewer words"):
        generator.generate(long_request, num_candidates=1, seed=0)
