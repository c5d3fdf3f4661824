"""Sampling: the noise's distribution, tokens drawn as softmax has them, and the same story everywhere for a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sim.cycle.execute
from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image, Registers
from compiler.image_file import load_image, save_image
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from compiler.sampling import SEEDS, mantissa_and_shift, mixed, temperature_of, with_sampling
from rtl.config import PRESETS, preset
from rtl.timing import NOISE_ROWS
from sim.commands.check import compare
from sim.cycle import CycleSimulator, IllegalProgram
from sim.device import CycleDevice, GoldenDevice, open_device
from sim.driver import memory_writes
from sim.generate import generate_together
from sim.golden import Golden
from sim.golden.noise import PARTS, TABLE, UNIT, ZEROS, Noise, after_number, after_token
from tests.sim.programs import SQUARE, image, t

SHAPE = Shape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=19, context=20)
MODEL = quantise(random_float_model(SHAPE))
SAMPLING = [name for name, cfg in PRESETS.items() if cfg.noise_rate]
T = 0.6


def image_of(name: str = "tiny", sequences: int = 1) -> Image:
    return replace(compile_model(MODEL, preset(name), sequences=sequences), model=MODEL)


@pytest.fixture(scope="module")
def one() -> Image:
    return image_of()


@pytest.fixture(scope="module")
def two() -> Image:
    return image_of(sequences=2)


# The generator --------------------------------------------------------------------------------------------------------


def plain(seed: int) -> Noise:
    """Noise in units of 1/UNIT of a nat, the table's own."""
    made = Noise(mixed(seed), mantissa=128, shift=7)
    made.begin()
    return made


def test_both_generators_have_the_full_period():
    """Of order 2**64 - 1 as linear maps, and of no divisor of it."""
    def apply(columns: list[int], state: int) -> int:
        made = 0
        for bit, column in enumerate(columns):
            made ^= column if state >> bit & 1 else 0
        return made

    def power(columns: list[int], exponent: int) -> list[int]:
        made = [1 << bit for bit in range(64)]
        while exponent:
            if exponent & 1:
                made = [apply(columns, column) for column in made]
            columns, exponent = [apply(columns, column) for column in columns], exponent >> 1
        return made

    identity, period = [1 << bit for bit in range(64)], (1 << 64) - 1
    for step in (after_number, after_token):
        columns = [step(1 << bit) for bit in range(64)]
        assert power(columns, period) == identity
        assert all(power(columns, period // prime) != identity for prime in (3, 5, 17, 257, 641, 65537, 6700417))


def test_noise_has_the_gumbel_distribution():
    """Kolmogorov's distance from it: the largest step of the table, 1 / 128, and 1.63 / sqrt(n), his 1 % bound."""
    count = 100_000
    g = np.sort(plain(1).draw(count) / UNIT + 4.0)
    exact = np.exp(-np.exp(-g))
    above, below = np.searchsorted(g, g, "right") / count - exact, exact - np.searchsorted(g, g, "left") / count
    assert max(above.max(), below.max()) < 2 / 256 + 1.63 / count**0.5
    assert abs(g.mean() - 0.5772) < 4 * 1.2825 / count**0.5
    assert g.max() > 9  # the tail goes on: of so many, the largest is 11.5 on average


@pytest.mark.parametrize("seed", [2, 3])
def test_every_number_comes_as_often_as_it_should(seed: int):
    """Chi-square over all that are expected 50 times, and the rest; within 4 standard deviations."""
    count, chances = 200_000, dict[int, float]()
    for (zeros, _), value in np.ndenumerate(TABLE):
        chances[int(value)] = chances.get(int(value), 0.0) + 2.0 ** -min(zeros + 1, ZEROS) / PARTS
    assert sum(chances.values()) == 1.0
    found = dict(zip(*np.unique(plain(seed).draw(count), return_counts=True), strict=True))
    often = [value for value, chance in chances.items() if count * chance >= 50]
    parts = [(found.get(value, 0), count * chances[value]) for value in often]
    parts.append((count - sum(seen for seen, _ in parts), count - sum(wanted for _, wanted in parts)))
    assert len(parts) > 300
    chi = sum((seen - wanted) ** 2 / wanted for seen, wanted in parts)
    assert abs(chi - len(parts) + 1) < 4 * (2 * len(parts)) ** 0.5


def test_nothing_is_correlated():
    """Numbers next to one another, those of the same place in the next token, and those of the next seed."""
    count = 20_000
    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return abs(float(np.corrcoef(a, b)[0, 1])) * len(a) ** 0.5

    numbers = plain(4).draw(count)
    assert all(correlation(numbers[:-lag], numbers[lag:]) < 4 for lag in (1, 2, 3, 16, 64))
    tokens: list[np.ndarray] = []
    noise = plain(5)
    for _ in range(200):
        noise.begin()
        tokens.append(noise.draw(100))
    assert correlation(np.concatenate(tokens[:-1]), np.concatenate(tokens[1:])) < 4
    assert correlation(plain(6).draw(count), plain(7).draw(count)) < 4
    repeated = plain(8).draw(count)
    assert correlation(repeated, repeated // 2) > 4  # it can find something


# Tokens ---------------------------------------------------------------------------------------------------------------


def chi_square(one: Image, temperature: float, draws: int) -> tuple[float, int]:
    """Of tokens drawn at one position with as many seeds, against softmax(logits / temperature); and its freedom."""
    golden = Golden(MODEL)
    for token in (1, 7, 5):
        golden.step(token)
    scaled = golden.logits * MODEL.logit_scale / temperature
    expected = draws * np.exp(scaled - scaled.max()) / np.exp(scaled - scaled.max()).sum()
    found = np.zeros(SHAPE.vocab)
    for seed in range(draws):
        register = with_sampling(one, T, seed).registers
        mantissa, shift = mantissa_and_shift(register.temperature)
        noise = Noise(register.seeds[0], mantissa=mantissa, shift=shift)
        noise.begin()
        found[np.argmax(golden.logits + noise.draw(SHAPE.vocab))] += 1
    large = expected >= 5
    parts = [*zip(found[large], expected[large], strict=True), (found[~large].sum(), expected[~large].sum() or 1.0)]
    return sum((seen - wanted) ** 2 / wanted for seen, wanted in parts), len(parts) - 1


def test_tokens_come_as_often_as_softmax_says(one: Image):
    """And not as often as it would at another temperature."""
    chi, freedom = chi_square(one, temperature_of(with_sampling(one, T)), 6000)
    assert chi < freedom + 4 * (2 * freedom) ** 0.5
    chi, freedom = chi_square(one, 1.25 * T, 6000)
    assert chi > freedom + 8 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("temperature", [0.05, 0.3, 0.7, 1.0])
def test_a_temperature_is_met_within_half_a_part_of_its_mantissa(one: Image, temperature: float):
    assert temperature_of(with_sampling(one, temperature)) == pytest.approx(temperature, rel=1 / 256)


def told(image: Image, *prompts: list[int], device: Callable[[Image], object] = GoldenDevice) -> list[list[int]]:
    given = prompts or ([1, 4],)
    return generate_together(device(image), image, given, stop=frozenset()).stories  # type: ignore[arg-type]


def test_the_same_seed_tells_the_same_story_and_another_one_another(one: Image):
    first = told(with_sampling(one, T, 1))
    assert told(with_sampling(one, T, 1)) == first
    assert len({tuple(told(with_sampling(one, T, seed))[0]) for seed in range(20)}) == 20


def test_temperature_0_is_the_story_of_a_machine_without_noise(one: Image):
    greedy = told(one)
    assert told(with_sampling(one, 0.0)) == greedy == told(image_of("icebreaker"))
    assert told(with_sampling(one, 1e-3, 9)) == greedy


@pytest.mark.parametrize("name", SAMPLING)
def test_cycle_and_golden_draw_the_same_tokens(name: str):
    """And the same as on every other machine: what is drawn depends on no number of lanes."""
    sequences = PRESETS[name].sequences
    image = with_sampling(image_of(name, sequences), T, 21)
    found = compare([GoldenDevice(image), CycleDevice(image, poison=3)], image, [1, 4, 2], image.context, tensors=True)
    assert all(one.good for one in found)
    assert told(with_sampling(image_of(name), T, 21), device=CycleDevice) == told(with_sampling(image_of(), T, 21))


def test_the_rtl_draws_the_same_tokens(two: Image):
    image = with_sampling(two, T, 33)
    devices = [open_device(name, image) for name in ("cycle", "rtl")]
    found = compare(devices, image, [1, 4], image.context, tensors=False)
    assert all(one.good for one in found)


def test_a_story_does_not_depend_on_what_is_told_beside_it(one: Image, two: Image):
    """The second one has the next seed; prompts of different lengths, so one is drawn for while the other is given."""
    prompts = [1, 4], [1, 9, 3, 3, 8, 2, 2]
    for device in (GoldenDevice, CycleDevice):
        both = told(with_sampling(two, T, 5), *prompts, device=device)
        assert both == [told(with_sampling(one, T, 5 + n), prompt)[0] for n, prompt in enumerate(prompts)]


class Stays(Noise):
    """A restart that nobody hears."""

    def restart(self) -> None:
        if not hasattr(self, "_state"):
            super().restart()


class GoesOn(Noise):
    """Each token with the numbers after those of the one before."""

    def begin(self) -> None:
        self._state = self._state or self._seed


class Hotter(Noise):
    """Another temperature."""

    def __init__(self, seed: int, *, mantissa: int, shift: int) -> None:
        super().__init__(seed, mantissa=mantissa, shift=shift - 1)


@pytest.mark.parametrize("bug", [Stays, GoesOn, Hotter])
def test_a_seeded_bug_is_found(bug: type[Noise], two: Image, monkeypatch: pytest.MonkeyPatch):
    """Put into one of two devices alone; the second sequence begins anew in the middle."""
    image = with_sampling(two, T, 8)
    right = GoldenDevice(image)
    assert all(one.good for one in compare([right, CycleDevice(image)], image, [1, 4], 16, tensors=False))
    monkeypatch.setattr(sim.cycle.execute, "Noise", bug)
    assert not all(one.good for one in compare([right, CycleDevice(image)], image, [1, 4], 16, tensors=False))


def test_a_seed_that_is_written_for_the_wrong_sequence_is_found(two: Image, monkeypatch: pytest.MonkeyPatch):
    image, words = with_sampling(two, T, 8), Registers.words
    monkeypatch.setattr(Registers, "words", lambda self, cfg: words(replace(self, seeds=self.seeds[:1] * 2), cfg))
    devices = [GoldenDevice(image), open_device("rtl", image)]
    assert not all(one.good for one in compare(devices, image, [1, 4], 16, tensors=False))


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "seed", "complaint"), [
    (-1.0, 0, "a temperature of -1.0 is impossible"), (float("nan"), 0, "a temperature of nan is impossible"),
    (float("inf"), 0, "is impossible"), (1.0, -1, "a seed of -1 is impossible"), (1.0, SEEDS, "it must be 0 to 9223"),
    (1e5, 0, "too high for this model's logits; at most [0-9.]+ is"), (1e-9, 0, "too low to differ from 0")])
def test_what_cannot_be_sampled(one: Image, temperature: float, seed: int, complaint: str):
    with pytest.raises(InputError, match=complaint):
        with_sampling(one, temperature, seed)


def test_a_machine_without_noise_says_which_have_some():
    with pytest.raises(InputError, match=r"icebreaker cannot sample, .*; tiny, tangnano20k, ulx3s, large can"):
        with_sampling(image_of("icebreaker"), T)
    with pytest.raises(InputError, match="does not carry its model"):
        with_sampling(compile_model(MODEL, preset("tiny")), T)


def test_an_image_file_keeps_it(one: Image, tmp_path: Path):
    image = with_sampling(one, T, 77)
    save_image(image, tmp_path / "a.lpu")
    assert load_image(tmp_path / "a.lpu").registers == image.registers
    (write,) = (item for item in memory_writes(image, skip_zeros=False) if item.space.name == "REGISTER")
    assert len(write.data) == 2 * 14 and int.from_bytes(write.data[8:16], "little") == mixed(77)


NOISY = replace(SQUARE, noise_rate=2)
READY, APART = t("noise_ready", NOISY), t("noise_apart", NOISY)
TAKE = "addend=NOISE write=1 dst=1 s0=3"


@pytest.mark.parametrize(("first", "apart", "complaint"), [
    (READY, APART, ""), (READY - 1, APART, f"takes a row of noise, and those are ready from cycle {READY} on"),
    (READY, APART - 1, f"takes a row of noise that is not there before cycle {READY + APART}: .* in cycle {READY}$")])
def test_a_row_that_is_taken_too_early_is_refused(first: int, apart: int, complaint: str):
    """By the program's checker: all rows at once, and then one more."""
    vector = "\n".join([
        f"RUN wait={first - 1} {TAKE}", f"RUN repeat={NOISE_ROWS - 2} {TAKE}", f"RUN wait={apart - NOISE_ROWS} {TAKE}",
        "END wait=60"])
    made = CycleSimulator(image(NOISY, matrix="RUN repeat=1 row=5 act=3 clear=1\nEND wait=300", vector=vector))
    if not complaint:
        made.step(3, classify=False)
        return
    with pytest.raises(IllegalProgram, match=complaint):
        made.step(3, classify=False)


def test_a_machine_without_noise_takes_none():
    with pytest.raises(IllegalProgram, match="square has no noise to add"):
        CycleSimulator(image(SQUARE, vector=f"RUN {TAKE}"))
