"""Ask a model behind an OpenAI-compatible endpoint, each request once, and know what it cost.

The client is OpenAI's own package (extra `distill`): it retries what fails for a passing reason
(429, 5xx, a lost connection) with growing pauses. Every reply is a line of a journal, keyed by the
hash of the endpoint and the request, before the next is awaited: a command that was killed or whose
endpoint failed goes on where it stopped, and a finished one asks nothing.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mdx.corpus.config import DistillConfig
from mdx.errors import MdxError, UsageError
from mdx.journal import Journal

REPLIES = "distilled.jsonl"
_REFUSALS = (400, 413, 422)  # of this request alone: too long, or against the server's rules

Request = Mapping[str, Any]  # the arguments of chat.completions.create


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back for a request. `refused` says why the endpoint answers none like it."""

    key: str
    text: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    refused: str = ""


class ReplyJournal(Journal[Reply]):
    """Replies on disk."""

    def __init__(self, path: Path) -> None:
        self.replies: dict[str, Reply] = {}
        super().__init__(path, Reply, self._take)

    def _take(self, _: int, reply: Reply) -> None:
        self.replies[reply.key] = reply


def ask_all(
    requests: Sequence[Request],
    config: DistillConfig,
    out_dir: str,
    progress: Callable[[int, int], None],
) -> tuple[list[Reply], dict[str, Any]]:
    """Return the reply to each request in order, and the cost report.

    Raises UsageError where the package or the model's name is missing, MdxError where the endpoint
    fails for good: what has come until then is stored.
    """
    if not config.model:
        raise UsageError("questions.distill.model must name the model that the endpoint serves")
    keys = [_key(request, config.base_url) for request in requests]
    with ReplyJournal(Path(out_dir) / REPLIES) as journal:
        missing = {k: r for k, r in zip(keys, requests, strict=True) if k not in journal.replies}
        num_known = len(requests) - len(missing)
        progress(num_known, len(requests))
        if missing:
            told = _Told(num_known, len(requests), progress)
            asyncio.run(_ask_missing(missing, config, journal, told))
        replies = [journal.replies[key] for key in keys]
        new = [journal.replies[key] for key in missing]
    return replies, _cost(replies, new, config)


class _Told:
    """Tells `progress` of each reply that came."""

    def __init__(self, done: int, total: int, progress: Callable[[int, int], None]) -> None:
        self._done, self._total, self._progress = done, total, progress

    def one_more(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


async def _ask_missing(
    missing: Mapping[str, Request], config: DistillConfig, journal: ReplyJournal, told: _Told
) -> None:
    try:
        import openai
    except ImportError as error:
        raise UsageError(
            "distillation needs the openai package: pip install 'mdx-stack[distill]'"
        ) from error
    gate = asyncio.Semaphore(config.max_concurrent)
    failures: list[openai.OpenAIError] = []  # after the first no request begins; others end
    async with openai.AsyncOpenAI(
        base_url=config.base_url,
        api_key=os.environ.get(config.api_key_env) or "none",  # local servers want no key
        max_retries=config.max_retries,
        timeout=config.timeout_s,
    ) as client:

        async def ask(key: str, request: Request) -> None:
            async with gate:
                if failures:
                    return
                try:
                    answer = await client.chat.completions.create(**request)
                except openai.OpenAIError as error:
                    status = getattr(error, "status_code", None)
                    if status not in _REFUSALS:
                        failures.append(error)
                        return
                    journal.add(Reply(key=key, refused=f"{status} {error}"))
                else:
                    journal.add(_reply(key, answer))
            told.one_more()

        await asyncio.gather(*(ask(*item) for item in missing.items()))
    if failures:
        raise MdxError(
            f"the endpoint {config.base_url} fails: {failures[0]}; {len(journal.replies)} replies "
            "are stored, and the same command goes on from there"
        ) from failures[0]


def _reply(key: str, answer: Any) -> Reply:
    text = answer.choices[0].message.content if answer.choices else ""
    usage = answer.usage
    return Reply(
        key=key,
        text=text or "",
        tokens_in=usage.prompt_tokens if usage else 0,
        tokens_out=usage.completion_tokens if usage else 0,
    )


def _key(request: Request, base_url: str) -> str:
    content = msgspec.json.encode([base_url, request], order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _cost(replies: Sequence[Reply], new: Sequence[Reply], config: DistillConfig) -> dict[str, Any]:
    """Return tokens and prices of all replies, and of those that this command paid for."""

    def of(some: Sequence[Reply]) -> dict[str, Any]:
        tokens_in = sum(reply.tokens_in for reply in some)
        tokens_out = sum(reply.tokens_out for reply in some)
        usd = tokens_in * config.usd_per_million_in + tokens_out * config.usd_per_million_out
        return {
            "num_requests": len(some),
            "num_refused": sum(bool(reply.refused) for reply in some),
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "usd": round(usd / 1e6, 6),
        }

    return {
        "model": config.model,
        "usd_per_million_in": config.usd_per_million_in,
        "usd_per_million_out": config.usd_per_million_out,
        "all": of(replies),
        "this_time": of(new),
    }
