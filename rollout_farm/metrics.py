"""What a worker tells Prometheus: outcomes, times, queue, slots, cache, sandbox.

http://HOST:PORT/metrics        (`metrics_listen`; numbers only, no authentication)
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mdx.errors import FarmError
from mdx.lammps.run import RunResult, RunStatus
from rollout_farm.addresses import split_host_port
from rollout_farm.sandbox import LAYERS

if TYPE_CHECKING:
    from rollout_farm.cache import ResultCache
    from rollout_farm.pool import Pool

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """Counts what happens; `serve` lets Prometheus read it, together with the pool's state."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._is_served = False
        runs = Counter(
            "mdx_farm_runs", "Scripts run, by how they ended", ["status"], registry=self.registry
        )
        self._ended = {status: runs.labels(status) for status in RunStatus}  # shown as 0
        self._run_s = self._histogram("mdx_farm_run_seconds", "Wall time of a script")
        self._cpu_s = self._histogram("mdx_farm_cpu_seconds", "CPU time of a script")
        self._queue_s = self._histogram("mdx_farm_queue_seconds", "Time that a script waited")
        self._refused = Counter(
            "mdx_farm_refused", "Requests not taken, by reason", ["reason"], registry=self.registry
        )
        for reason in ("queue_full", "draining", "invalid", "token"):
            self._refused.labels(reason)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=_SECONDS, registry=self.registry)

    def count_run(self, result: RunResult) -> None:
        """Count a script that was run, where somebody may ask."""
        if not self._is_served:
            return
        self._ended[result.status].inc()
        self._run_s.observe(result.timings.wall_s)
        self._cpu_s.observe(result.timings.cpu_s)
        self._queue_s.observe(result.timings.queue_s)

    def count_refusal(self, reason: str) -> None:
        """Count a request that was not taken: queue_full, draining, invalid or token."""
        self._refused.labels(reason).inc()

    def serve(self, listen: str, pool: "Pool", results: "ResultCache") -> None:
        """Answer Prometheus at `host:port` for as long as the process lives. Raises FarmError."""
        self.registry.register(_State(pool, results))
        self._is_served = True
        host, port = split_host_port(listen)
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise FarmError(f"metrics_listen: cannot listen on {listen}: {error}") from error


class _State(Collector):
    """What can be read off the pool and the cache at any time."""

    def __init__(self, pool: "Pool", results: "ResultCache"):
        self._pool = pool
        self._results = results

    def collect(self) -> Iterator[Metric]:
        """Yield the state now."""
        pool = self._pool
        gauges = {
            "slots": (pool.config.slots, "Scripts that can run at a time"),
            "slots_busy": (pool.num_busy, "Scripts that run now"),
            "queue_length": (pool.num_waiting, "Scripts that wait for a slot"),
        }
        for name, (value, text) in gauges.items():
            yield GaugeMetricFamily(f"mdx_farm_{name}", text, value=value)
        counters = {
            "slots_lost": (pool.num_lost, "Slots that died or got a known script wrong"),
            "cache_hits": (self._results.num_hits, "Requests answered without running a script"),
        }
        for name, (value, text) in counters.items():
            yield CounterMetricFamily(f"mdx_farm_{name}", text, value=value)
        layers = GaugeMetricFamily(
            "mdx_farm_sandbox_layer", "1 where the layer holds", labels=["layer"]
        )
        for layer in LAYERS:
            layers.add_metric([layer], float(layer in pool.hello.layers))
        yield layers
