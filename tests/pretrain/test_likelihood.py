"""Free energies, likelihoods and the partition function against sums over all states, and annealed importance sampling
against the exact sum."""

import numpy as np
import pytest
from enumerated import Enumerated, example, machine_of

from vgfast.pretrain import RBM
from vgfast.pretrain.likelihood import ENUMERABLE, Machine, annealed, enumerated, free_energy, pseudo_likelihood

V0 = np.array([1.0, 0, 1, 0])
EPS = np.finfo(float).eps


def random_machine(m, n, rng, scale=1.0, gaussian=False):
    return Machine(rng.normal(0, scale, (m, n)), rng.normal(size=m), rng.normal(size=n), gaussian)


def test_the_known_numbers_of_a_small_machine():
    """Computed apart from this package, to the digits given."""
    rbm, all_states = machine_of(example()), Enumerated(example())
    close = {"rtol": 0, "atol": 1e-12}
    np.testing.assert_allclose(rbm.log_partition("exact").value, 5.084482056461313, **close)
    np.testing.assert_allclose(rbm.free_energy(V0[None]), [-2.767430814650264], **close)
    np.testing.assert_allclose(rbm.score_samples(V0[None]), [-2.093257496117600], **close)
    np.testing.assert_allclose(rbm.log_likelihood(V0[None]), [2.767430814650264 - 5.084482056461313], **close)
    p = np.exp(rbm.log_likelihood(all_states.v))
    of_data = V0[:, None] * rbm.transform(V0[None])
    gradient = of_data - (p[:, None] * all_states.v).T @ rbm.transform(all_states.v)
    np.testing.assert_allclose(gradient[[0, 3], [0, 2]], [0.341175659530055, -0.135994287621593], **close)
    np.testing.assert_allclose(all_states.gradient(V0)[:12].reshape(4, 3), gradient, **close)
    cd = all_states.contrastive_divergence(V0)[0][:12].reshape(4, 3)
    np.testing.assert_allclose(cd[[0, 3], [0, 2]], [0.309487643156, -0.109344947868], **close)
    gaussian = machine_of(example()._replace(gaussian=True))
    np.testing.assert_allclose(gaussian.log_partition("exact").value, 6.456358375764, **close)


SIZES = [(m, n) for m in (1, 2, 3, 5, 8) for n in (1, 2, 4, 7)] + [
    (12, 9),
    (3, 14),
    (14, 3),
    (12, 11),
    (4, 18),
    (17, 4),
]


@pytest.mark.parametrize(("m", "n"), SIZES)
def test_against_all_states(m, n, rng):
    """Sums of m n terms, each rounded, of up to ``size``; then log-sums of 2^m of them."""
    machine = random_machine(m, n, rng)
    size = m * n * (np.abs(machine.W).sum() + np.abs(machine.b).sum() + np.abs(machine.c).sum() + n)
    close = {"rtol": 0, "atol": 4 * size * EPS}
    expected = Enumerated(machine)
    np.testing.assert_allclose(enumerated(machine).value, expected.log_partition, **close)
    np.testing.assert_allclose(free_energy(machine, expected.v), -expected.log_weights, **close)
    rows = np.s_[:: max(1, len(expected.v) // 1000)]
    np.testing.assert_allclose(
        pseudo_likelihood(machine, expected.v[rows]), expected.pseudo_likelihood()[rows], rtol=0, atol=8 * size * EPS
    )


def test_probabilities_sum_to_1_where_the_states_are_gone_through_in_blocks(rng):
    """Which they are from 13 units on."""
    for m, n in ((13, 15), (15, 13), (14, 14)):
        machine = random_machine(m, n, rng, 0.3)
        v = (np.arange(2**m)[:, None] >> np.arange(m) & 1).astype(float)
        log_p = -free_energy(machine, v) - enumerated(machine).value
        assert abs(np.exp(log_p).sum() - 1) < 1e-11


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (1, 14)])
def test_gaussian_density_integrates_to_1(m, n, rng):
    """The trapezoidal rule is exact to rounding for a density as smooth as this."""
    machine = random_machine(m, n, rng, 0.5, gaussian=True)
    reach = 9 + np.abs(machine.W).sum(axis=1).max() + np.abs(machine.b).max()
    axis, step = np.linspace(-reach, reach, 401, retstep=True)
    v = np.stack(np.meshgrid(*[axis] * m), axis=-1).reshape(-1, m)
    log_p = -free_energy(machine, v) - enumerated(machine).value
    assert abs(np.exp(log_p).sum() * step**m - 1) < 1e-11


def test_pseudo_likelihood_of_extreme_weights(rng):
    """Where a flipped unit multiplies by e^100; against the free energies."""
    machine = random_machine(6, 5, rng, 60.0)
    v = (rng.random((20, 6)) < 0.5) * 1.0
    expected = np.zeros(20)
    for i in range(6):
        other = v.copy()
        other[:, i] = 1 - v[:, i]
        expected -= np.logaddexp(0, free_energy(machine, v) - free_energy(machine, other))
    np.testing.assert_allclose(pseudo_likelihood(machine, v), expected, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("gaussian", [False, True])
def test_annealing_finds_the_exact_sum(gaussian):
    """Within 4 of its standard errors, of machines of any shape, from any base."""
    rng = np.random.default_rng(3)
    for m, n in ((1, 1), (5, 12), (12, 5), (20, 8)):
        machine = random_machine(m, n, rng, 0.5, gaussian)
        found = annealed(machine, rng, 200, 200, rng.normal(size=m))
        assert abs(found.value - enumerated(machine).value) < 4 * found.standard_error
        assert 1 <= found.effective_samples <= 200


def test_annealing_without_weights_is_exact(rng):
    """Each chain has the same weight."""
    machine = random_machine(7, 4, rng, 0.0)
    found = annealed(machine, rng, 10, 5, machine.b)
    assert found.value == pytest.approx(enumerated(machine).value, abs=1e-12)
    assert found.effective_samples == pytest.approx(5)
    assert found.standard_error < 1e-12


@pytest.mark.once
@pytest.mark.slow
def test_annealing_of_a_machine_of_digits(digits):
    """Ten times within 0.1 of the exact log Z, and the standard error that it says is right within a factor of 2."""
    rbm = RBM(16, n_iter=10, persistent=True, learning_rate=0.05, rng=0).fit(digits[0])
    exact = rbm.log_partition("exact").value
    found = [rbm.log_partition("ais", n_temperatures=1000, n_chains=100, rng=seed) for seed in range(10)]
    errors = np.array([each.value for each in found]) - exact
    said = np.sqrt(np.mean([each.standard_error**2 for each in found]))
    assert (np.abs(errors) <= 0.1).all()
    assert 0.5 <= said / np.sqrt((errors**2).mean()) <= 2


def test_as_many_units_as_can_be_enumerated(digits):
    rbm = RBM(ENUMERABLE + 1, n_iter=1, rng=0).fit(digits[0][:100])
    with pytest.raises(ValueError, match=r"method='exact' .* at most 20 units, got 21; use method='ais'$"):
        rbm.log_partition("exact")
    assert rbm.log_partition(n_temperatures=10).standard_error > 0
    assert rbm.log_partition("ais", n_temperatures=10).standard_error > 0
