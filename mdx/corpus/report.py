"""What was kept and what was dropped, why, how much, with samples: report.json and report.md.

Tokens are words, numbers and single symbols: a count that needs no tokenizer; `mdx-data stats`
counts with one.
"""

import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_MAX_SAMPLES = 8  # named in report.md for each reason; report.json names all
_SAMPLE_CHARS = 120


def num_tokens(text: str) -> int:
    """Return how many words, numbers and symbols `text` has."""
    return sum(1 for _ in _TOKEN.finditer(text))


@dataclass(kw_only=True)
class Report:
    """Counts that grow while documents pass."""

    num_files: int = 0
    kept: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # source, kind, split
    tokens: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    dropped: list[dict[str, Any]] = field(default_factory=list)

    @property
    def num_kept(self) -> int:
        """Documents kept."""
        return sum(self.kept.values())

    @property
    def num_tokens(self) -> int:
        """Tokens kept."""
        return sum(self.tokens.values())

    def keep(self, source: str, name: str, split: str, kind: str, text: str) -> None:
        """Count a document that stays."""
        self.kept[source, kind, split] += 1
        self.tokens[source, kind, split] += num_tokens(text)

    def drop(self, source: str, name: str, reason: str, detail: str, text: str = "") -> None:
        """Note a file that gives no document."""
        self.dropped.append(
            {
                "source": source,
                "name": name,
                "reason": reason,
                "detail": " ".join(detail.split())[:_SAMPLE_CHARS],
                "num_tokens": num_tokens(text),
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        reasons = Counter(item["reason"] for item in self.dropped)
        tokens: Counter[str] = Counter()
        for item in self.dropped:
            tokens[item["reason"]] += item["num_tokens"]
        return {
            "num_files": self.num_files,
            "num_kept": self.num_kept,
            "num_tokens_kept": self.num_tokens,
            "kept": [
                {
                    "source": source,
                    "kind": str(kind),
                    "split": split,
                    "num_documents": count,
                    "num_tokens": self.tokens[source, kind, split],
                }
                for (source, kind, split), count in sorted(self.kept.items())
            ],
            "dropped_by_reason": {
                reason: {"num_documents": count, "num_tokens": tokens[reason]}
                for reason, count in sorted(reasons.items())
            },
            "dropped": self.dropped,
        }


def write_report(report: Report, out_dir: Path) -> None:
    """Write report.json and report.md."""
    content = report.as_dict()
    texts = {
        "report.json": json.dumps(content, indent=1, ensure_ascii=False) + "\n",
        "report.md": _markdown(content),
    }
    for name, text in texts.items():
        partial = out_dir / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, out_dir / name)


def _markdown(content: dict[str, Any]) -> str:
    lines = [
        "# Corpus",
        "",
        f"{content['num_kept']} documents with {content['num_tokens_kept']:,} tokens "
        f"(words, numbers and symbols) were kept of {content['num_files']} files.",
        "",
        "| source | kind | split | documents | tokens |",
        "|---|---|---|---|---|",
    ]
    for row in content["kept"]:
        lines.append(
            f"| {row['source']} | {row['kind']} | {row['split']} | {row['num_documents']:,} "
            f"| {row['num_tokens']:,} |"
        )
    lines += ["", "## Dropped", "", "| reason | files | tokens |", "|---|---|---|"]
    for reason, row in content["dropped_by_reason"].items():
        lines.append(f"| {reason} | {row['num_documents']:,} | {row['num_tokens']:,} |")
    for reason in content["dropped_by_reason"]:
        lines += ["", f"### {reason}", ""]
        named = [item for item in content["dropped"] if item["reason"] == reason]
        for item in named[:_MAX_SAMPLES]:
            detail = f" ({item['detail']})" if item["detail"] else ""
            lines.append(f"* {item['source']}: `{item['name']}`{detail}")
        if len(named) > _MAX_SAMPLES:
            lines.append(f"* and {len(named) - _MAX_SAMPLES} more: see report.json")
    return "\n".join(lines) + "\n"
