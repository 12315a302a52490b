"""Everybody's fastest setting in a case: tried on this machine, or as it was recorded."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

import torch
from benchmarks import record
from benchmarks.opponents import OPPONENTS
from benchmarks.settings import Case, Setting, step_of
from benchmarks.turns import Spread, rounds_within, take_turns

from vision_transformers.evaluation.speed import Numbers
from vision_transformers.runtime.precision import has_bfloat16

PARTS = 4
FAR_BEHIND = 2.0
"""A setting whose second call takes so many times as long as another one's is not measured further."""
FINALISTS = 3
ROUNDS, FINAL_ROUNDS = 5, 9
LONGEST_SECONDS = 40.0
"""Of one comparison, which has fewer rounds where steps are long."""
NAME = "settings.json"


def choose(case: Case, device: torch.device, opponents: Iterable[str] = OPPONENTS) -> dict[str, Setting]:
    """The fastest setting of each, which is recorded as soon as it is known."""
    chosen = {}
    for opponent in opponents:
        if (setting := fastest(opponent, case, device)) is not None:
            chosen[opponent] = setting
            settings = record.read(NAME)
            of_case = settings.setdefault(record.machine(device), {}).setdefault(case.name, {})
            of_case[opponent] = asdict(setting) | {"chosen": record.title(device)}
            record.write(NAME, settings)
    return chosen


def fastest(opponent: str, case: Case, device: torch.device) -> Setting | None:
    """By the same steps for all: eager in every way, compiled with each numbers' best attention, in parts.

    The machine's speed drifts meanwhile, so that the fastest of all of these take turns once more. None where
    nothing works.
    """
    attentions = OPPONENTS[opponent].attentions
    eager = [Setting(numbers, attention) for numbers in possible(case, device) for attention in attentions]
    tried = _try_all(opponent, case, eager, device)
    of_numbers = [[each for each in tried if each.setting.numbers == numbers] for numbers in case.numbers]
    to_compile = [replace(_first(each).setting, compile=True) for each in of_numbers if each]
    tried += _try_all(opponent, case, to_compile, device)
    if not tried:
        return None
    if case.work == "training" and case.batch % PARTS == 0:
        tried += _try_all(opponent, case, [replace(_first(tried).setting, parts=PARTS)], device)
    tried.sort(key=lambda each: each.seconds)
    finalists = _in_turns(tried[:FINALISTS], device, FINAL_ROUNDS)
    best = _first(finalists).setting
    everything = sorted(finalists, key=lambda each: each.seconds) + tried[FINALISTS:]
    milliseconds = [f"{each.setting}: {1000 * each.seconds:.1f} ms" for each in everything]
    print(f"{case.name}, {opponent}: " + "; ".join(milliseconds), flush=True)
    return best


def possible(case: Case, device: torch.device) -> list[Numbers]:
    """On CPUs without avx512_bf16 float32 alone: PyTorch emulates bfloat16 there, which takes minutes."""
    return list(case.numbers) if has_bfloat16(device) else [n for n in case.numbers if n == "float32"]


def recorded(case: Case, device: torch.device) -> dict[str, Setting]:
    """The settings that were chosen on such a machine, perhaps not everybody's; empty where none were."""
    return _settings(record.machine(device), case)


def borrowed(case: Case, device: torch.device) -> dict[str, Setting]:
    """Those of another machine that computes in the same numbers, which is said; empty without one."""
    numbers = set(possible(case, device))
    for machine in record.read(NAME):
        settings = _settings(machine, case)
        used = {setting.numbers for setting in settings.values()}
        if used and used <= numbers and (len(numbers) == 1 or used != {"float32"}):
            print(f"{case.name}: settings of {machine}; with --choose those of this machine")
            return settings
    return {}


def left_out(opponent: str, setting: Setting, error: Exception) -> str:
    """Why there is no such row: what a library or a compiler meets is its own."""
    reason = f"{error}".partition("\n")[0]
    return f"{opponent}, {setting}: left out, {type(error).__name__}: {reason}"


@dataclass(frozen=True)
class Tried:
    """A setting, and how long a step in it takes."""

    setting: Setting
    step: Callable[[], object]
    seconds: float


def _first(tried: Iterable[Tried]) -> Tried:
    return min(tried, key=lambda each: each.seconds)


def _try_all(opponent: str, case: Case, settings: list[Setting], device: torch.device) -> list[Tried]:
    """The median of a few calls, in turns, of each setting that works and is not far behind at once."""
    tried: list[Tried] = []
    for setting in settings:
        try:
            step = step_of(opponent, case, setting, device)
            step()
        except Exception as error:
            print(left_out(opponent, setting, error), flush=True)
            continue
        second_call = take_turns({"": step}, device, rounds=1, warm_up=0)[""][0]
        tried.append(Tried(setting, step, second_call))
    hopeless = FAR_BEHIND * min((each.seconds for each in tried), default=0.0)
    return _in_turns([each for each in tried if each.seconds < hopeless], device, ROUNDS)


def _in_turns(tried: list[Tried], device: torch.device, most_rounds: int) -> list[Tried]:
    """With the medians of new measurements."""
    if not tried:
        return []
    rounds = rounds_within(LONGEST_SECONDS, sum(each.seconds for each in tried), most_rounds)
    seconds = take_turns({str(each.setting): each.step for each in tried}, device, rounds, warm_up=1)
    return [replace(each, seconds=Spread.of(seconds[str(each.setting)]).median) for each in tried]


def _settings(machine: str, case: Case) -> dict[str, Setting]:
    of_case = record.read(NAME).get(machine, {}).get(case.name, {})
    return {
        name: Setting(**{key: value for key, value in each.items() if key != "chosen"})
        for name, each in of_case.items()
    }
