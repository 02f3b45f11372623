"""Say in one line why a run is not a solution: what repair prompts, the agent and people read."""

from mdx.lammps.run import Reward, RunResult


def describe_failure(result: RunResult | None, reward: Reward) -> str:
    """Return LAMMPS's error or, where the run ended well, what is not as it was asked for."""
    if result is not None and result.error:
        return result.error
    low = [name for name, value in reward.components.items() if value < 1.0]
    wrong = ", ".join(reward.flags or low) or "too low a reward"
    return f"the run is not what was asked for: {wrong}"
