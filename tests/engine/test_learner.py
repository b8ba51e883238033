from typing import NamedTuple

import pytest
import torch

from rl_cli.core.types import Rows
from rl_cli.engine.learner import Learner, joined
from rl_cli.storage.serialization import pack, unpack

CPU = torch.device("cpu")


def make_learner(params, loss, max_grad_norm=None, with_target=False, max_grad_value=None):
    return Learner(
        params,
        loss,
        adam_eps=1e-5,
        max_grad_norm=max_grad_norm,
        max_grad_value=max_grad_value,
        device=CPU,
        with_target=with_target,
    )


def weights():
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden.weight": (8, 3), "hidden.bias": (8,), "out.weight": (1, 8), "scale": ()}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def data(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 3, generator=generator)
    return x, x.square().sum(-1)


def regression(params, x, y):
    hidden = torch.tanh(
        torch.nn.functional.linear(x, params["hidden.weight"], params["hidden.bias"])
    )
    predicted = (hidden @ params["out.weight"].T).squeeze(-1) * params["scale"]
    return (predicted - y).square().mean(), {"predicted": predicted.mean().detach()}


def slope(*gradient):
    """A loss whose gradient by `w` is always `gradient`."""
    return lambda params, *_: ((params["w"] * torch.tensor(gradient)).sum(), {})


@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
def test_steps_equal_torchs_adam_and_clip(max_grad_norm):
    learner = make_learner(weights(), regression, max_grad_norm=max_grad_norm)
    oracle = {name: value.clone().requires_grad_() for name, value in weights().items()}
    adam = torch.optim.Adam(oracle.values(), eps=1e-5)
    for step in range(15):
        learning_rate = 0.01 * (1 - step / 20)
        metrics = learner.update(*data(step), learning_rate=learning_rate)
        adam.param_groups[0]["lr"] = learning_rate
        adam.zero_grad()
        loss, _ = regression(oracle, *data(step))
        loss.backward()
        limit = float("inf") if max_grad_norm is None else max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(oracle.values(), limit)
        adam.step()
        torch.testing.assert_close(metrics["grad_norm"], norm[None])  # before clipping
        torch.testing.assert_close(metrics["loss"], loss.detach()[None])
        for name, value in oracle.items():
            torch.testing.assert_close(learner.params[name].detach(), value.detach())
    assert norm > 0.5  # the clip was at work


def test_a_first_step_moves_by_the_learning_rate_against_the_gradients_sign():
    # Adam's first step is lr * g / (|g| + eps): its own learning rate 0.1, then one given to it
    learner = make_learner({"w": torch.tensor([1.0, 1.0])}, slope(3.0, -0.5))
    learner.update(learning_rate=0.1)
    assert learner.params["w"].tolist() == pytest.approx([0.9, 1.1], abs=1e-5)
    other = make_learner({"w": torch.tensor([1.0, 1.0])}, slope(3.0, -0.5))
    other.update(learning_rate=0.5)
    assert other.params["w"].tolist() == pytest.approx([0.5, 1.5], abs=2e-5)


def test_a_learning_rate_of_0_moves_nothing():
    learner = make_learner({"w": torch.tensor([1.0])}, slope(3.0))
    learner.update(learning_rate=0.0)
    assert learner.params["w"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("max_grad_norm", "momentum"),
    # a first step leaves a tenth of the gradient it took in Adam's momentum
    [
        (1.0, [0.06, 0.08]),  # (300, 400) is 500 long: scaled by 1 / 500
        (None, [30.0, 40.0]),
        (1000.0, [30.0, 40.0]),  # shorter than the bound: left as it is, not stretched
    ],
)
def test_clipping_bounds_the_norm_of_the_whole_gradient(max_grad_norm, momentum):
    params = {"w": torch.tensor(0.0), "v": torch.tensor(0.0)}
    learner = make_learner(
        params, lambda p: (300 * p["w"] + 400 * p["v"], {}), max_grad_norm=max_grad_norm
    )
    metrics = learner.update(learning_rate=0.1)
    assert learner.first_moment.tolist() == pytest.approx(momentum, rel=1e-5)
    assert metrics["grad_norm"].item() == pytest.approx(500.0)


def test_clipping_by_value_bounds_each_entry():
    """Gradients 3 and -0.2, bound 0.5: m = 0.1 g, so 0.05 and -0.02; the norm is told as it was."""
    params = {"w": torch.tensor([1.0, 1.0])}
    slope = torch.tensor([3.0, -0.2])
    learner = make_learner(params, lambda p: ((p["w"] * slope).sum(), {}), max_grad_value=0.5)
    metrics = learner.update(learning_rate=0.1)
    assert learner.first_moment.tolist() == pytest.approx([0.05, -0.02])
    assert metrics["grad_norm"].item() == pytest.approx((9 + 0.04) ** 0.5)


def test_the_losss_metrics_are_passed_on():
    learner = make_learner(weights(), regression)
    metrics = learner.update(*data(0), learning_rate=0.1)
    assert set(metrics) == {"loss", "predicted", "grad_norm"}
    assert not any(value.requires_grad for value in metrics.values())


def test_named_parameters_are_views_of_the_flat_vector():
    learner = make_learner({"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3.0)}, slope(1.0))
    assert learner.flat.tolist() == [1.0, 2.0, 3.0]
    learner.flat.add_(10.0)
    assert learner.params["a"].tolist() == [[11.0, 12.0]]
    assert learner.params["b"].item() == 13.0
    learner.load_policy({"a": torch.tensor([[5.0, 6.0]]), "b": torch.tensor(7.0)})
    assert learner.flat.tolist() == [5.0, 6.0, 7.0]


def test_the_initial_tensors_are_copied():
    initial = {"w": torch.tensor([1.0])}
    learner = make_learner(initial, slope(3.0))
    learner.update(learning_rate=0.1)
    assert initial["w"].tolist() == [1.0]
    assert not initial["w"].requires_grad


def test_the_policy_state_is_a_copy_that_later_steps_leave_alone():
    learner = make_learner({"w": torch.tensor([1.0])}, slope(3.0))
    state = learner.policy_state()
    learner.update(learning_rate=0.1)
    assert state["w"].tolist() == [1.0]
    assert not state["w"].requires_grad


def test_a_parameter_the_loss_does_not_use_stays_put():
    learner = make_learner({"w": torch.tensor([1.0]), "idle": torch.tensor([2.0])}, slope(3.0))
    for _ in range(5):
        metrics = learner.update(learning_rate=0.1)
    assert learner.params["idle"].tolist() == [2.0]
    assert learner.params["w"].item() < 1.0
    assert metrics["grad_norm"].item() == pytest.approx(3.0)


def test_the_target_moves_only_by_update_target():
    learner = make_learner({"w": torch.tensor([0.0])}, slope(3.0), with_target=True)
    learner.update(learning_rate=0.1)
    learner.load_policy({"w": torch.tensor([4.0])})
    assert learner.target["w"].tolist() == [0.0]
    learner.update_target(1.0)
    assert learner.target["w"].tolist() == [4.0]
    learner.update(learning_rate=0.1)
    assert learner.target["w"].tolist() == [4.0]  # a copy, not the same memory


def test_a_soft_update_moves_the_target_by_the_share_tau():
    learner = make_learner({"w": torch.tensor([0.0])}, slope(3.0), with_target=True)
    learner.load_policy({"w": torch.tensor([4.0])})
    learner.update_target(0.25)
    assert learner.target["w"].tolist() == [1.0]  # 0.25 * 4 + 0.75 * 0
    learner.update_target(0.25)
    assert learner.target["w"].tolist() == [1.75]  # 0.25 * 4 + 0.75 * 1
    assert learner.params["w"].tolist() == [4.0]


def test_the_loss_is_given_the_target_and_no_gradient_flows_into_it():
    # loss (w - 2 t)**2 with w = 3, t = 1: gradient 2 * (3 - 2) = 2, of which a tenth is momentum.
    # Had it flowed into the target as well, the step would have to move that too
    def loss(params, target, x):
        return (params["w"] - x * target["w"]).square().sum(), {}

    learner = make_learner({"w": torch.tensor([1.0])}, loss, with_target=True)
    learner.load_policy({"w": torch.tensor([3.0])})
    learner.update(2.0, learning_rate=0.1)
    assert learner.first_moment.tolist() == pytest.approx([0.2])
    assert learner.target["w"].tolist() == [1.0]
    assert not learner.target["w"].requires_grad


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"a": torch.ones(2)}, r"b should be \(1, 3\), found nothing"),
        ({"a": torch.ones(2), "b": torch.ones(3)}, r"b should be \(1, 3\), found \(3,\)"),
        ({"a": torch.ones(2), "b": torch.ones(1, 3), "c": torch.ones(1)}, "unknown parameter c"),
    ],
)
def test_load_policy_refuses_what_does_not_fit_and_names_it(params, says):
    learner = make_learner({"a": torch.zeros(2), "b": torch.zeros(1, 3)}, slope(1.0))
    with pytest.raises(ValueError, match=says):
        learner.load_policy(params)
    assert not learner.flat.any()  # nothing is taken over, not even what fits


def handed_over(state):
    return state


def through_a_checkpoint(state):
    return unpack(*pack(state)[:2], {}.__getitem__)


def distill(params, target, x, y):
    """Uses the target, so that one that is not restored shows."""
    loss, metrics = regression(params, x, y)
    return loss + regression(target, x, y)[0] * params["scale"], metrics


@pytest.mark.parametrize("way", [handed_over, through_a_checkpoint])
def test_a_restored_learner_goes_on_identically(way):
    first = make_learner(weights(), distill, max_grad_norm=1.0, with_target=True)
    for seed in range(4):
        first.update(*data(seed), learning_rate=0.1)
        first.update_target(0.3)
    blank = {name: torch.zeros_like(value) for name, value in weights().items()}
    second = make_learner(blank, distill, max_grad_norm=1.0, with_target=True)
    second.load_policy(first.policy_state())
    second.load_state_dict(way(first.state_dict()))
    for seed in range(4, 8):  # the first one's steps must not reach into the second's state either
        first.update(*data(seed), learning_rate=0.1)
        first.update_target(0.3)
    for seed in range(4, 8):
        second.update(*data(seed), learning_rate=0.1)
        second.update_target(0.3)
    assert torch.equal(first.flat, second.flat)
    assert torch.equal(first.flat_target, second.flat_target)


def test_metrics_are_joined_by_name():
    first = {"loss": torch.tensor([1.0]), "norm": torch.tensor([5.0])}
    second = {"loss": torch.tensor([2.0, 3.0]), "norm": torch.tensor([-1.0, 0.0])}
    both = joined([first, second])
    assert {k: v.tolist() for k, v in both.items()} == {"loss": [1, 2, 3], "norm": [5, -1, 0]}
    assert joined([first]) == first


class Table(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def fit(params, rows, scale):
    error = ((rows.x @ params["w"].T + params["b"]) - rows.y).square().sum(-1)
    return scale * error.mean(), {"first": error.detach()[0], "each": error.detach()}


def test_several_batches_are_as_many_updates_one_after_the_other():
    table = Table(torch.randn(9, 3), torch.randn(9, 2))
    positions = torch.randint(9, (4, 5))
    weights = {"w": torch.randn(2, 3), "b": torch.zeros(2)}
    one, other = make_learner(weights, fit), make_learner(weights, fit)
    together = one.update(Rows(table, positions), 2.0, learning_rate=0.1)
    singly = [
        other.update(Rows(table, positions[k : k + 1]), 2.0, learning_rate=0.1) for k in range(4)
    ]
    assert one.updates == other.updates == 4
    assert torch.equal(one.flat, other.flat)
    assert torch.equal(one.second_moment, other.second_moment)
    assert list(together) == ["loss", "first", "grad_norm", "each"]
    assert {k: tuple(v.shape) for k, v in together.items()} == {
        "loss": (4,), "first": (4,), "grad_norm": (4,), "each": (4, 5)
    }  # fmt: skip
    for name, values in together.items():
        assert torch.equal(values, torch.cat([metrics[name] for metrics in singly]))


def test_a_compiler_tries_the_step_with_the_numbers_of_its_first_update():
    """What memory happened to hold was a clip_coef of 0 now and then, at which every step differs."""
    seen = []

    def compiler(function, arguments, changing):
        (at, *_) = changing
        seen.append(arguments[at].tolist())

    def loss(params, x, coef):
        return (params["w"] * x).sum() * coef, {}

    for _ in range(20):  # garbage is not always garbage
        learner = make_learner({"w": torch.zeros(1)}, loss)
        learner.compile_with(compiler)
        learner.updates = 1
        learner.update(torch.ones(1), 0.25, learning_rate=0.5)
    rate, correction = 0.5 / (1 - 0.9**2), (1 - 0.999**2) ** -0.5
    assert all(row == pytest.approx([rate, correction, 0.25], rel=1e-6) for row in seen)
