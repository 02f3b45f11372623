"""What writes the scripts: a model in this process, a model behind HTTP, or stored answers.

All three are a `Generator`: messages in, texts out. Nothing else of the agent knows which one is
at work. JAX is imported by the first `LocalGenerator.generate`, not before.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mdx.chat import render_prompt
from mdx.errors import MdxError, UsageError

Message = dict[str, str]

SYSTEM_PROMPT = (
    "You write LAMMPS input scripts. Answer with one complete script in a ```lammps block."
)
_RETRY_DELAYS_S = (0.5, 2.0, 8.0)
_BUSY = frozenset({429, 500, 502, 503, 504})


class Generator(Protocol):
    """Writes answers to a conversation."""

    def generate(self, messages: Sequence[Message], *, num_candidates: int, seed: int) -> list[str]:
        """Return `num_candidates` answers; the same seed gives the same answers if it can."""
        ...

    def fits(self, messages: Sequence[Message]) -> bool:
        """Say whether the model can read a conversation of this length."""
        ...


class LocalGenerator:
    """An exported Hugging Face directory, sampled in this process.

    The sampler pads prompts to few lengths, so a repair prompt compiles at most once more.
    """

    def __init__(
        self,
        model_dir: str,
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_new_tokens: int = 256,
    ):
        """Read the tokenizer; the weights wait until they are needed.

        Raises UsageError where `model_dir` is no Hugging Face directory.
        """
        config_file = Path(model_dir) / "config.json"
        if not config_file.is_file():
            raise UsageError(
                f"--model needs a Hugging Face directory, but there is no {config_file}; "
                "training stages write one to <run_dir>/export"
            )
        from mdx.tokenizer import Tokenizer

        self._model_dir = model_dir
        self._tokenizer = Tokenizer.load(model_dir)
        context = json.loads(config_file.read_text(encoding="utf-8"))["max_position_embeddings"]
        self._max_prompt_tokens = context - max_new_tokens
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._top_p = top_p
        self._model: tuple[Any, Any] | None = None  # graphdef, params

    def fits(self, messages: Sequence[Message]) -> bool:
        """Say whether the prompt leaves room for an answer in the model's context."""
        return len(self._encode(messages)) <= self._max_prompt_tokens

    def generate(self, messages: Sequence[Message], *, num_candidates: int, seed: int) -> list[str]:
        """Sample answers; raises UsageError for a prompt that does not fit."""
        import jax

        from mdx.model.hf import load_hf
        from mdx.model.sampler import sample

        if not self.fits(messages):
            raise UsageError(
                f"the request has {len(self._encode(messages))} tokens, but this model reads at "
                f"most {self._max_prompt_tokens}: say it in fewer words"
            )
        if self._model is None:
            self._model = load_hf(self._model_dir)[1:]
        graphdef, params = self._model
        (group,) = sample(
            graphdef,
            params,
            [self._encode(messages)],
            num_samples=num_candidates,
            max_new_tokens=self._max_new_tokens,
            eos_ids=(self._tokenizer.eos_id,),
            key=jax.random.key(seed),
            temperature=self._temperature,
            top_p=self._top_p,
            num_slots=num_candidates,
        )
        return [self._tokenizer.decode(sampled.tokens) for sampled in group]

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        return self._tokenizer.encode(render_prompt(messages))


class EndpointGenerator:
    """A model behind an OpenAI-compatible `/chat/completions`, over the standard library.

    A system turn asks for a fenced script, which a model trained by MDX need not be told.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        temperature: float = 0.7,
        max_new_tokens: int = 4096,
        timeout_s: float = 300.0,
        retry_delays_s: Sequence[float] = _RETRY_DELAYS_S,
    ):
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--endpoint must begin with http:// or https://, not {url!r}")
        self._url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._body = {"model": model, "temperature": temperature, "max_tokens": max_new_tokens}
        self._timeout_s = timeout_s
        self._retry_delays_s = tuple(retry_delays_s)

    def fits(self, messages: Sequence[Message]) -> bool:
        """Return True: the server knows its own limit."""
        return True

    def generate(self, messages: Sequence[Message], *, num_candidates: int, seed: int) -> list[str]:
        """Ask once a candidate, since many servers ignore `n`; raises MdxError if it fails."""
        turns = [{"role": "system", "content": SYSTEM_PROMPT}, *messages]
        return [
            self._ask({**self._body, "messages": turns, "seed": seed * num_candidates + index})
            for index in range(num_candidates)
        ]

    def _ask(self, body: Mapping[str, Any]) -> str:
        for delay_s in (*self._retry_delays_s, None):
            try:
                return self._post(body)
            except urllib.error.HTTPError as error:
                detail = f"{error.code} {error.reason}"
                if error.code not in _BUSY:
                    raise MdxError(f"the endpoint {self._url} refused: {detail}") from error
            except OSError as error:  # refused, reset, timed out, unknown host
                detail = str(getattr(error, "reason", error))
            if delay_s is not None:
                time.sleep(delay_s)
        raise MdxError(f"the endpoint {self._url} does not answer: {detail}")

    def _post(self, body: Mapping[str, Any]) -> str:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._url, data=data, headers=self._headers)
        with urllib.request.urlopen(request, timeout=self._timeout_s) as reply:
            text = reply.read()
        try:
            return json.loads(text)["choices"][0]["message"]["content"] or ""
        except (ValueError, LookupError, TypeError) as error:
            raise MdxError(
                f"the endpoint {self._url} must answer as OpenAI's chat completions do, "
                f"but sent {text[:80]!r}"
            ) from error


class ReplayGenerator:
    """Plays stored answers in order: for tests and for showing a past session again."""

    def __init__(self, texts: Sequence[str]):
        self._texts = list(texts)

    def fits(self, messages: Sequence[Message]) -> bool:
        """Return True: stored answers read nothing."""
        return True

    def generate(self, messages: Sequence[Message], *, num_candidates: int, seed: int) -> list[str]:
        """Return the next `num_candidates` answers; raises UsageError when they are used up."""
        if len(self._texts) < num_candidates:
            raise UsageError("the stored answers are used up: store one for each candidate")
        answers, self._texts = self._texts[:num_candidates], self._texts[num_candidates:]
        return answers
