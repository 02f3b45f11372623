"""The agent: writes a simulation, runs it, looks at the outcome, repairs it.

from agent import solve
outcome = solve("Relax fcc copper", model="runs/grpo/export", run_dir="runs/copper")
"""

from agent.session import solve

__all__ = ["solve"]
