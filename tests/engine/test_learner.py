from typing import NamedTuple

import pytest
import torch

from rl_cli.core.types import Rows
from rl_cli.engine.functions import joined
from rl_cli.engine.learner import Learner
from rl_cli.engine.optimizers import Adam
from rl_cli.storage.serialization import pack, unpack

CPU = torch.device("cpu")


def make_learner(params, loss, max_grad_norm=None, with_target=False, max_grad_value=None):
    return Learner(
        params,
        loss,
        optimizer=Adam(1e-5),
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
def test_updates_equal_torch_adam_with_clipping(max_grad_norm):
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
    assert norm > 0.5  # the gradient was clipped


def test_first_update_is_learning_rate_times_gradient_sign():
    # Adam's first step is lr * g / (|g| + eps): its own learning rate 0.1, then one given to it
    learner = make_learner({"w": torch.tensor([1.0, 1.0])}, slope(3.0, -0.5))
    learner.update(learning_rate=0.1)
    assert learner.params["w"].tolist() == pytest.approx([0.9, 1.1], abs=1e-5)
    other = make_learner({"w": torch.tensor([1.0, 1.0])}, slope(3.0, -0.5))
    other.update(learning_rate=0.5)
    assert other.params["w"].tolist() == pytest.approx([0.5, 1.5], abs=2e-5)


def test_zero_learning_rate_changes_nothing():
    learner = make_learner({"w": torch.tensor([1.0])}, slope(3.0))
    learner.update(learning_rate=0.0)
    assert learner.params["w"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("max_grad_norm", "momentum"),
    # the first update leaves a tenth of the gradient in the first moment
    [
        (1.0, [0.06, 0.08]),  # (300, 400) is 500 long: scaled by 1 / 500
        (None, [30.0, 40.0]),
        (1000.0, [30.0, 40.0]),  # shorter than the limit: unchanged
    ],
)
def test_clipping_limits_norm_of_whole_gradient(max_grad_norm, momentum):
    params = {"w": torch.tensor(0.0), "v": torch.tensor(0.0)}
    learner = make_learner(
        params, lambda p: (300 * p["w"] + 400 * p["v"], {}), max_grad_norm=max_grad_norm
    )
    metrics = learner.update(learning_rate=0.1)
    assert learner.first_moment.tolist() == pytest.approx(momentum, rel=1e-5)
    assert metrics["grad_norm"].item() == pytest.approx(500.0)


def test_clipping_by_value_limits_each_entry():
    """Gradients 3 and -0.2, bound 0.5: m = 0.1 g, so 0.05 and -0.02; the reported norm is that before clipping."""
    params = {"w": torch.tensor([1.0, 1.0])}
    slope = torch.tensor([3.0, -0.2])
    learner = make_learner(params, lambda p: ((p["w"] * slope).sum(), {}), max_grad_value=0.5)
    metrics = learner.update(learning_rate=0.1)
    assert learner.first_moment.tolist() == pytest.approx([0.05, -0.02])
    assert metrics["grad_norm"].item() == pytest.approx((9 + 0.04) ** 0.5)


def test_update_returns_metrics_of_the_loss():
    learner = make_learner(weights(), regression)
    metrics = learner.update(*data(0), learning_rate=0.1)
    assert set(metrics) == {"loss", "predicted", "grad_norm"}
    assert not any(value.requires_grad for value in metrics.values())


def test_named_parameters_are_views_of_flat():
    learner = make_learner({"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3.0)}, slope(1.0))
    assert learner.flat.tolist() == [1.0, 2.0, 3.0]
    learner.flat.add_(10.0)
    assert learner.params["a"].tolist() == [[11.0, 12.0]]
    assert learner.params["b"].item() == 13.0
    learner.load_policy({"a": torch.tensor([[5.0, 6.0]]), "b": torch.tensor(7.0)})
    assert learner.flat.tolist() == [5.0, 6.0, 7.0]


def test_initial_tensors_are_copied():
    initial = {"w": torch.tensor([1.0])}
    learner = make_learner(initial, slope(3.0))
    learner.update(learning_rate=0.1)
    assert initial["w"].tolist() == [1.0]
    assert not initial["w"].requires_grad


def test_policy_state_is_a_copy():
    learner = make_learner({"w": torch.tensor([1.0])}, slope(3.0))
    state = learner.policy_state()
    learner.update(learning_rate=0.1)
    assert state["w"].tolist() == [1.0]
    assert not state["w"].requires_grad


def test_unused_parameter_is_unchanged():
    learner = make_learner({"w": torch.tensor([1.0]), "idle": torch.tensor([2.0])}, slope(3.0))
    for _ in range(5):
        metrics = learner.update(learning_rate=0.1)
    assert learner.params["idle"].tolist() == [2.0]
    assert learner.params["w"].item() < 1.0
    assert metrics["grad_norm"].item() == pytest.approx(3.0)


def test_only_update_target_changes_the_target():
    learner = make_learner({"w": torch.tensor([0.0])}, slope(3.0), with_target=True)
    learner.update(learning_rate=0.1)
    learner.load_policy({"w": torch.tensor([4.0])})
    assert learner.target["w"].tolist() == [0.0]
    learner.update_target(1.0)
    assert learner.target["w"].tolist() == [4.0]
    learner.update(learning_rate=0.1)
    assert learner.target["w"].tolist() == [4.0]  # a copy, not the same memory


def test_soft_update_moves_target_by_tau():
    learner = make_learner({"w": torch.tensor([0.0])}, slope(3.0), with_target=True)
    learner.load_policy({"w": torch.tensor([4.0])})
    learner.update_target(0.25)
    assert learner.target["w"].tolist() == [1.0]  # 0.25 * 4 + 0.75 * 0
    learner.update_target(0.25)
    assert learner.target["w"].tolist() == [1.75]  # 0.25 * 4 + 0.75 * 1
    assert learner.params["w"].tolist() == [4.0]


def test_no_gradient_flows_into_the_target():
    # loss (w - 2 t)**2 with w = 3, t = 1: gradient 2 * (3 - 2) = 2, a tenth of which is the first moment.
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
def test_load_policy_names_the_parameter_that_does_not_fit(params, says):
    learner = make_learner({"a": torch.zeros(2), "b": torch.zeros(1, 3)}, slope(1.0))
    with pytest.raises(ValueError, match=says):
        learner.load_policy(params)
    assert not learner.flat.any()  # nothing is copied, not even parameters that fit


def unchanged(state):
    return state


def through_a_checkpoint(state):
    return unpack(*pack(state)[:2], {}.__getitem__)


def distill(params, target, x, y):
    """Uses the target, so that the test fails if it is not restored."""
    loss, metrics = regression(params, x, y)
    return loss + regression(target, x, y)[0] * params["scale"], metrics


@pytest.mark.parametrize("way", [unchanged, through_a_checkpoint])
def test_restored_learner_continues_identically(way):
    first = make_learner(weights(), distill, max_grad_norm=1.0, with_target=True)
    for seed in range(4):
        first.update(*data(seed), learning_rate=0.1)
        first.update_target(0.3)
    blank = {name: torch.zeros_like(value) for name, value in weights().items()}
    second = make_learner(blank, distill, max_grad_norm=1.0, with_target=True)
    second.load_policy(first.policy_state())
    second.load_state_dict(way(first.state_dict()))
    for seed in range(4, 8):  # the first learner's updates must not change the second's state
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


def test_k_batches_are_k_updates():
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


def test_compiler_receives_scalars_of_the_first_update():
    """Uninitialized scalars could be a clip_coef of 0, with which compiled and plain steps differ."""
    seen = []

    def compiler(function, arguments, changing):
        (at, *_) = changing
        seen.append(arguments[at].tolist())

    def loss(params, x, coef):
        return (params["w"] * x).sum() * coef, {}

    for _ in range(20):  # uninitialized memory differs from call to call
        learner = make_learner({"w": torch.zeros(1)}, loss)
        learner.compile_with(compiler)
        learner.updates = 1
        learner.update(torch.ones(1), 0.25, learning_rate=0.5)
    rate, correction = 0.5 / (1 - 0.9**2), (1 - 0.999**2) ** -0.5
    assert all(row == pytest.approx([rate, correction, 0.25], rel=1e-6) for row in seen)
