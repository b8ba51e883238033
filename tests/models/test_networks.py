"""Networks, compared with torch.nn layers of the same weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rl_cli import algos
from rl_cli.config.algorithm import EncoderChoice
from rl_cli.config.schema import build, keys
from rl_cli.core.errors import BadInput
from rl_cli.core.obs_layout import ObsLayout
from rl_cli.core.types import ActionSpec, EnvSpec, ObsPart
from rl_cli.models.activation import Activation
from rl_cli.models.encoders import make_encoder
from rl_cli.models.image_encoders import Impala, MinAtarCNN, NatureCNN
from rl_cli.models.networks import MLP, Identity
from tests.config.test_config import checked, compose


def image(*shape):
    return ObsPart("", shape, "uint8", 0.0, 255.0)


ONE_OF_TWO = ActionSpec("discrete", (), (2,))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def put(layers, params, name):
    """Copy named parameters into torch layers."""
    with torch.no_grad():
        for i, layer in enumerate(layers):
            layer.weight.copy_(params[f"{name}.{i}.weight"])
            layer.bias.copy_(params[f"{name}.{i}.bias"])


def assert_orthogonal(weight, gain):
    """Rows (or columns, if there are fewer) are orthogonal and of norm `gain`."""
    flat = weight.flatten(1)
    flat = flat if flat.shape[0] <= flat.shape[1] else flat.T
    expected = gain**2 * torch.eye(len(flat))
    torch.testing.assert_close(flat @ flat.T, expected, rtol=0, atol=1e-5 * gain**2)


@pytest.mark.parametrize(("activation", "layer"), [("tanh", nn.Tanh), ("relu", nn.ReLU)])
def test_mlp_equals_torch_sequential(activation, layer):
    mlp = MLP("q", 3, (8, 5), 4, activation)
    params = mlp.init(seeded())
    linears = [nn.Linear(3, 8), nn.Linear(8, 5), nn.Linear(5, 4)]
    put(linears, params, "q")
    x = torch.randn(6, 3, generator=seeded(1))
    out = mlp(params, x)
    oracle = nn.Sequential(linears[0], layer(), linears[1], layer(), linears[2])
    torch.testing.assert_close(out, oracle(x))
    assert (out < 0).any()  # no activation follows the last layer


@pytest.mark.parametrize(("activation", "layer"), [("tanh", nn.Tanh), ("relu", nn.ReLU)])
def test_layer_norm_equals_that_of_torch(activation, layer):
    mlp = MLP("q", 3, (8, 5), 4, activation, layer_norm=True)
    params = mlp.init(seeded())
    assert set(params) == set(MLP("q", 3, (8, 5), 4, activation).init(seeded()))
    linears = [nn.Linear(3, 8), nn.Linear(8, 5), nn.Linear(5, 4)]
    put(linears, params, "q")
    norms = [nn.LayerNorm(size, elementwise_affine=False) for size in (8, 5)]
    oracle = nn.Sequential(linears[0], norms[0], layer(), linears[1], norms[1], layer(), linears[2])
    x = torch.randn(6, 3, generator=seeded(1))
    torch.testing.assert_close(mlp(params, x), oracle(x))


def test_layer_norm_bounds_the_outputs_for_any_input():
    mlp = MLP("q", 3, (8, 5), 4, "relu", layer_norm=True)
    params = mlp.init(seeded())
    # a normalized row has norm sqrt(F); so |W x + b| <= |W| sqrt(5) + |b|
    weight, bias = params["q.2.weight"], params["q.2.bias"]
    bound = weight.norm(dim=1) * 5**0.5 + bias.abs()
    for scale in (1.0, 1e3, 1e6):
        x = scale * torch.randn(50, 3, generator=seeded(1))
        assert (mlp(params, x).abs() <= bound).all()
    plain = MLP("q", 3, (8, 5), 4, "relu")
    assert (plain(params, x).abs() > bound).any()


def test_layer_norm_of_hand_computed_rows():
    # (1, 3): mean 2, deviation 1; (5, 5) has no deviation; (-40, 60): mean 10, deviation 50
    relu = Activation("relu", layer_norm=True)
    x = torch.tensor([[1.0, 3.0], [5.0, 5.0], [-40.0, 60.0]])
    expected = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(relu(x), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(relu.in_numpy(x.numpy().copy()), expected, rtol=0, atol=1e-4)


def test_mlp_without_hidden_layers_is_linear():
    mlp = MLP("actor", 2, (), 1, "tanh")
    params = {"actor.0.weight": torch.tensor([[2.0, -1.0]]), "actor.0.bias": torch.tensor([0.5])}
    assert set(mlp.init(seeded())) == set(params)
    # 2 * 3 - 4 + 0.5
    assert mlp(params, torch.tensor([[3.0, 4.0]])).tolist() == [[2.5]]


def test_mlp_uses_the_parameters_it_receives():
    # the target network is the same function with other weights
    mlp = MLP("q", 3, (8,), 2, "relu")
    online, target = mlp.init(seeded(0)), mlp.init(seeded(1))
    x = torch.randn(6, 3, generator=seeded(2))
    assert not torch.allclose(mlp(online, x), mlp(target, x))


def test_orthogonal_init_has_gains_and_zero_bias():
    mlp = MLP("actor", 4, (64, 16), 2, "tanh")
    params = mlp.init(seeded(), output_gain=0.01)
    assert_orthogonal(
        params["actor.0.weight"], math.sqrt(2)
    )  # 64 rows of 4: the columns are orthogonal
    assert_orthogonal(params["actor.1.weight"], math.sqrt(2))
    assert_orthogonal(params["actor.2.weight"], 0.01)
    assert all(params[f"actor.{i}.bias"].tolist() == [0.0] * n for i, n in enumerate((64, 16, 2)))


def test_uniform_init_bound_is_one_over_root_fan_in():
    params = MLP("q", 16, (2000,), 3, "relu").init(seeded())
    # fan-in 16: bound 1/4. 2,000 draws all miss the outer 1 % at one end with probability 0.99**2000 = 2e-9
    for name in ("q.0.weight", "q.0.bias"):
        assert params[name].abs().max() <= 0.25
        assert params[name].max() > 0.245
        assert params[name].min() < -0.245
    # fan-in 2000: the std of a uniform is bound / sqrt(3); 6,000 draws estimate it to about 1 %
    bound = 2000**-0.5
    assert params["q.1.weight"].abs().max() <= bound
    assert params["q.1.weight"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.04)


@pytest.mark.parametrize("output_gain", [None, 0.01])
def test_init_depends_on_generator_seed(output_gain):
    mlp = MLP("actor", 4, (8,), 2, "tanh")
    first, again, other = (mlp.init(seeded(seed), output_gain) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["actor.0.weight"], other["actor.0.weight"])


def test_init_ignores_global_generator():
    before = torch.get_rng_state()
    first = NatureCNN(image(1, 36, 36), "encoder").init(seeded())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(10)  # advances the global generator
    again = NatureCNN(image(1, 36, 36), "encoder").init(seeded())
    assert all(torch.equal(first[name], again[name]) for name in first)


def nature_oracle(params, channels, flat):
    layers = [
        nn.Conv2d(channels, 32, 8, stride=4),
        nn.Conv2d(32, 64, 4, stride=2),
        nn.Conv2d(64, 64, 3, stride=1),
        nn.Linear(flat, 512),
    ]
    put(layers, params, "encoder")
    first, second, third, last = layers
    relu = nn.ReLU()
    return nn.Sequential(first, relu, second, relu, third, relu, nn.Flatten(), last, relu)


@pytest.mark.parametrize(
    ("shape", "flat"),
    [
        ((4, 84, 84), 3136),  # 84 -> 20 -> 9 -> 7: 64 * 7 * 7
        ((3, 84, 36), 448),  # 36 -> 8 -> 3 -> 1: 64 * 7 * 1; height and width differ
    ],
)
def test_nature_cnn_equals_torch_layers_on_scaled_images(shape, flat):
    cnn = NatureCNN(image(*shape), "encoder")
    params = cnn.init(seeded())
    obs = torch.randint(0, 256, (2, *shape), generator=seeded(1), dtype=torch.uint8)
    features = cnn(params, obs)
    assert cnn.flat == flat
    assert features.shape == (2, cnn.features) == (2, 512)
    torch.testing.assert_close(features, nature_oracle(params, shape[0], flat)(obs / 255))


def test_nature_cnn_init_is_orthogonal_with_gain_root_two():
    params = NatureCNN(image(4, 84, 84), "encoder").init(seeded())
    shapes = [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136)]
    for i, shape in enumerate(shapes):
        assert params[f"encoder.{i}.weight"].shape == shape
        assert_orthogonal(params[f"encoder.{i}.weight"], math.sqrt(2))
        assert not params[f"encoder.{i}.bias"].any()


def test_encoder_of_vectors_is_identity():
    encoder = make_encoder(EnvSpec((7,), "float32", ONE_OF_TWO, 1))
    obs = torch.randn(2, 7, generator=seeded())
    assert isinstance(encoder, Identity)
    assert encoder.features == 7
    assert encoder.init(seeded()) == {}
    assert torch.equal(encoder({}, obs), obs)


def test_encoder_of_images_is_nature_cnn():
    assert isinstance(make_encoder(EnvSpec((3, 96, 96), "uint8", ONE_OF_TWO, 1)), NatureCNN)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_in_numpy_equals_torch(activation, layer_norm, rows):
    """One row uses another code path than several; neither modifies its input."""
    net = MLP("q", 5, (7, 6), 2, activation, layer_norm)
    params = net.init(torch.Generator().manual_seed(0))
    arrays = {name: value.numpy() for name, value in params.items()}
    x = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    kept = x.copy()
    found = net.in_numpy(arrays, x)
    np.testing.assert_allclose(
        found, net(params, torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-6
    )
    assert found.shape == (rows, 2)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
@pytest.mark.parametrize("env", ["pong", "pong_noframeskip", "breakout", "space_invaders"])
def test_atari_presets_use_network_of_mnih_2015(algo, env):
    """Mnih et al. 2015, Methods: 32, 64 and 64 filters, 512 units, one output for each action."""
    _, cfg = checked(compose(f"algo={algo}", f"env={env}"))
    spec = EnvSpec((4, 84, 84), "uint8", ActionSpec("discrete", (), (6,)), 1)
    net = algos.load(algo).network(cfg, spec)
    shapes = {k: tuple(v.shape) for k, v in net.init(torch.Generator()).items() if "weight" in k}
    convolutions = [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3)]
    own = {"dqn": {"q.0.weight": (6, 512)}}.get(
        algo, {"actor.0.weight": (6, 512), "critic.0.weight": (1, 512)}
    )
    layers = dict(enumerate([*convolutions, (512, 3136)]))
    assert shapes == {f"encoder.{i}.weight": shape for i, shape in layers.items()} | own


SWITCHES = {
    "dqn": [{}, {"noisy": True}, {"dueling": True}, {"hidden_sizes": []}, {"hidden_sizes": [7]}],
    "rainbow": [{}, {"hidden_sizes": [5, 6, 7]}, {"distributional": "qr"}],
    "ppo": [{}, {"shared_network": True}, {"std": "gsde"}, {"std": "state_dependent"}],
    "reinforce": [{}, {"baseline": "none", "bootstrap_truncated": False}],
}
CASES = [(algo, changes) for algo, every in SWITCHES.items() for changes in every]


@pytest.mark.parametrize("shape", [(3,), (2, 40, 44)])
@pytest.mark.parametrize(("algo", "changes"), CASES)
def test_size_equals_number_of_parameters(algo, changes, shape):
    values = compose(f"algo={algo}", "hparams=none")["algo"] | {"buffer_size": 64, "batch_size": 8}
    cls = algos.load(values["name"])
    values = {k: v for k, v in values.items() if k in keys(cls.Config)} | changes
    box = changes.get("std") is not None
    action = (
        ActionSpec("box", (2,), (), (-1, -1), (1, 1)) if box else ActionSpec("discrete", (), (4,))
    )
    spec = EnvSpec(shape, "float32" if len(shape) == 1 else "uint8", action, 1)
    cfg = build(cls.Config, values, "algo")
    made = cls(cfg, spec, 100, 0, torch.device("cpu"))
    assert cls.size(cfg, spec) == made.learner.flat.numel()


def test_impala_equals_torch_layers():
    """Two stages: 7 x 9 pixels become 4 x 5, then 2 x 3."""
    part = ObsPart("", (3, 7, 9), "uint8", 0.0, 255.0)
    net = Impala(part, "encoder", (4, 6), 10)
    params = net.init(seeded())
    convolutions = [nn.Conv2d(*shape[1::-1], 3, padding=1) for shape in net.shapes[:-1]]
    last = nn.Linear(6 * 2 * 3, 10)
    put([*convolutions, last], params, "encoder")
    obs = torch.randint(0, 256, (2, 3, 7, 9), generator=seeded(1), dtype=torch.uint8)
    x = obs / 255
    for first, a, b, c, d in (convolutions[:5], convolutions[5:]):
        x = nn.functional.max_pool2d(first(x), 3, 2, 1)
        x = x + b(a(x.relu()).relu())
        x = x + d(c(x.relu()).relu())
    torch.testing.assert_close(net(params, obs), last(x.relu().flatten(1)).relu())
    assert (net.features, net.size) == (10, sum(p.numel() for p in params.values()))


def test_parts_are_encoded_apart_and_joined():
    """A row of bytes: two vectors, a float image, a uint8 image; each reaches its own encoder."""
    parts = (
        ObsPart("a", (2,), "float32"),
        ObsPart("b", (3,), "float32"),
        ObsPart("depth", (1, 8, 8), "float32", -1.0, 3.0),
        ObsPart("eye", (3, 7, 7), "uint8", 0.0, 10.0),
    )
    layout = ObsLayout(parts)
    rng = np.random.default_rng(0)
    a, b, depth = (rng.normal(size=p.shape).astype(np.float32) for p in parts[:3])
    eye = rng.integers(0, 11, (3, 7, 7), np.uint8)
    row = torch.from_numpy(layout.pack([a, b, depth, eye]))[None]
    spec = EnvSpec((layout.size,), layout.dtype, ONE_OF_TWO, 1, 0, parts)
    net = make_encoder(spec)
    params = net.init(seeded())
    images = [MinAtarCNN(part, f"encoder.{part.name}") for part in parts[2:]]
    alone = [
        e(params, torch.from_numpy(x)[None]) for e, x in zip(images, (depth, eye), strict=True)
    ]
    vectors = torch.from_numpy(np.concatenate([a, b]))[None]
    assert torch.equal(net(params, row), torch.cat([vectors, *alone], 1))
    # the values are mapped from the bounds to [0, 1]
    scaled = [ObsPart(p.name, p.shape, "float32") for p in parts[2:]]
    mapped = [(torch.from_numpy(depth) + 1) / 4, torch.from_numpy(eye) / 10]
    for part, values, expected in zip(scaled, mapped, alone, strict=True):
        found = MinAtarCNN(part, f"encoder.{part.name}")(params, values[None])
        torch.testing.assert_close(found, expected)
    assert net.description == (
        "depth (1,8,8) -> minatar_cnn 128; eye (3,7,7) -> minatar_cnn 128; a (2,) -> mlp; b (3,) -> mlp"
    )
    assert net.size == sum(value.numel() for value in params.values())


@pytest.mark.parametrize(
    ("shape", "choice", "what"),
    [
        ((4,), EncoderChoice("impala"), "impala encodes images"),
        ((3, 20, 20), EncoderChoice("nature_cnn"), "20 x 20 pixels are too small for nature_cnn"),
        ((3, 40, 40), EncoderChoice("nature_cnn", (8, 8)), "nature_cnn has 3 convolutions; 2"),
        ((3, 7, 7), EncoderChoice("minatar_cnn", (8,) * 4), "7 x 7 pixels are too small"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(shape, choice, what):
    dtype = "float32" if len(shape) == 1 else "uint8"
    with pytest.raises(BadInput, match=what):
        make_encoder(EnvSpec(shape, dtype, ONE_OF_TWO, 1), choice)
