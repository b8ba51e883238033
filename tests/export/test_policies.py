"""Every kind of policy that is shipped does the same in every format."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rl_cli.core.errors import BadInput, RunError
from rl_cli.export.comparison import compare
from rl_cli.export.formats.c import CHeader
from rl_cli.export.formats.onnx import Onnx, _in_runtime, make_model
from rl_cli.export.formats.pt2 import GraphModule, Pt2
from rl_cli.models.networks import Identity
from tests.conftest import FULL
from tests.export.agents import make_agent, make_context

C51 = {"distributional": "c51", "num_atoms": 11, "v_min": -3.0, "v_max": 5.0}
QR = {"distributional": "qr", "num_atoms": 7}
SCALED, NORMALIZED = {"scale_actions": True}, {"normalize_obs": True}
KINDS = {
    "dqn": ("dqn", "NoiseDiscrete-v0", {}, {}),
    "dqn start": ("dqn", "NoiseStart-v0", NORMALIZED, {"activation": "tanh"}),
    "dqn one action": ("dqn", "NoiseOne-v0", {}, {}),
    "dqn dueling": ("dqn", "NoiseDiscrete-v0", {"frame_stack": 3}, {"dueling": True}),
    "dqn layer norm": ("dqn", "NoiseDiscrete-v0", {}, {"layer_norm": True, "dueling": True}),
    "dqn noisy": ("dqn", "NoiseTable-v0", {}, {"noisy": True}),
    "dqn c51": ("dqn", "NoiseDiscrete-v0", {}, C51),
    "dqn qr": ("dqn", "NoiseDiscrete-v0", {}, QR),
    "rainbow": ("dqn", "NoiseDiscrete-v0", {}, {**C51, "noisy": True, "dueling": True}),
    "dueling qr": ("dqn", "NoiseDiscrete-v0", {}, {**QR, "dueling": True, "hidden_sizes": [5]}),
    "dqn pixels": ("dqn", "NoisePixels-v0", {"frame_stack": 2, "resize": 36}, {"dueling": True}),
    "ppo": ("ppo", "NoiseDiscrete-v0", NORMALIZED, {"shared_network": True}),
    "ppo multidiscrete": ("ppo", "NoiseMulti-v0", {}, {}),
    "ppo box": ("ppo", "NoiseBounded-v0", {}, {}),
    "ppo double": ("ppo", "NoiseDouble-v0", NORMALIZED, {}),
    "ppo half open": ("ppo", "NoiseHalfOpen-v0", {}, {"std": "fixed"}),
    "ppo tanh": ("ppo", "NoiseBounded-v0", {}, {"squash_actions": True}),
    "ppo gsde": ("ppo", "NoiseBounded-v0", SCALED, {"std": "gsde", "squash_actions": True}),
    "ppo state": ("ppo", "NoiseBounded-v0", SCALED | NORMALIZED, {"std": "state_dependent"}),
    "ppo double scaled": ("ppo", "NoiseDouble-v0", SCALED, {}),
    "ppo integers": ("ppo", "NoiseWhole-v0", SCALED | NORMALIZED, {}),
    "ppo pixels": ("ppo", "NoisePixelsBounded-v0", {"grayscale": True, "frame_stack": 3}, {}),
    "dqn parts": ("dqn", "NoiseParts-v0", NORMALIZED, {}),
    "ppo parts": ("ppo", "NoiseFloatParts-v0", NORMALIZED, {"encoder": "mlp"}),
    "ppo impala": ("ppo", "NoiseSmall-v0", {}, {"encoder": "impala", "encoder_channels": [3, 4]}),
    "ppo scalar": ("ppo", "NoiseScalar-v0", {}, {}),
    "reinforce": ("reinforce", "NoiseDiscrete-v0", {}, {}),
    "reinforce box": ("reinforce", "NoiseBounded-v0", {}, {"activation": "relu"}),
}
COMPILED = list(KINDS) if FULL else ["rainbow", "dqn one action", "dueling qr", "dqn layer norm", "dqn pixels", "ppo multidiscrete", "ppo integers", "dqn parts", "ppo impala"]  # fmt: skip
"""Kinds that together have every operation."""


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    made = {}

    def context(kind):
        if kind not in made:
            algo, env_id, env, changes = KINDS[kind]
            agent = make_agent(algo, env_id, env, **changes)
            made[kind] = make_context(
                agent, tmp_path_factory.mktemp("export"), 30 if "pixels" in kind else 100
            )
        return made[kind]

    return context


@pytest.mark.parametrize("kind", KINDS)
def test_policy_in_numpy_and_torch(kind, contexts):
    context = contexts(kind)
    graph, obs = context.traced.graph, context.inputs(context.recorded.obs)
    names = list(graph.outputs)
    context.compare(graph.run)  # raises if they differ
    with torch.no_grad():
        found = GraphModule(graph)(torch.from_numpy(obs))
    context.compare(lambda _: {k: v.numpy() for k, v in zip(names, found, strict=True)})
    varied = graph.run(obs).get("scores", context.actions(context.recorded.obs))
    assert len({row.tobytes() for row in varied}) >= 5  # the comparison sees more than a constant


@pytest.mark.parametrize("kind", KINDS)
def test_policy_in_onnxruntime(kind, contexts):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    context = contexts(kind)
    session = onnxruntime.InferenceSession(make_model(context.traced.graph, 18, context.facts()))
    context.compare(_in_runtime(session))
    assert (
        len(session.run(None, {"obs": context.inputs(context.recorded.obs[:1])})[0]) == 1
    )  # any batch size


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize("kind", COMPILED)
def test_policy_in_c(kind, contexts):
    context = contexts(kind)
    (path,) = CHeader(context).export()  # compares
    assert "self-test" in path.read_text().lower()


def test_operations_are_all_compiled_in_the_short_form(contexts):
    def operations(kinds):
        return {value.op for kind in kinds for value in contexts(kind).traced.graph.values}

    assert operations(COMPILED) == operations(KINDS)


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_self_test_of_the_header_passes_and_notices_another_weight(contexts):
    (path,) = CHeader(contexts("ppo integers")).export()
    program = path.with_name("test")

    def code(text):
        path.write_text(text)
        build = ["cc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-DPOLICY_SELF_TEST"]
        subprocess.run([*build, "-xc", path, "-o", program, "-lm"], check=True)
        return subprocess.run([program], capture_output=True, check=False).returncode

    text = path.read_text()
    assert code(text) == 0
    begin = text.index("static const float")
    assert code(text[:begin] + text[begin:].replace("{\n  ", "{\n  90.0f + ", 1)) == 1


@pytest.mark.skipif(not FULL, reason="torch.export takes seconds; the module is compared above")
@pytest.mark.parametrize("kind", KINDS)
def test_policy_in_torch_export(kind, contexts):
    (path,) = Pt2(contexts(kind)).export()
    module = torch.export.load(path).module()
    obs = contexts(kind).inputs(contexts(kind).recorded.obs)
    assert len(module(torch.from_numpy(obs[:1]))[0]) == 1


def test_model_says_what_it_is_for(contexts):
    onnx = pytest.importorskip("onnx")
    context = contexts("dqn pixels")
    (path,) = Onnx(context).export()
    model = onnx.load(path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert model.opset_import[0].version == 18
    assert facts["env"] == "NoisePixels-v0"
    assert facts["observation"] == "uint8 [6, 36, 36]"
    assert "stack the last 2" in facts["before"]


def test_opset_that_does_not_exist_is_refused(contexts):
    pytest.importorskip("onnx")
    for opset in (3, 999, "eighteen"):
        with pytest.raises(BadInput, match="opset"):
            Onnx(contexts("dqn"), opset=opset).export()


def test_without_the_package_the_refusal_names_the_extra(contexts, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BadInput) as refused:
        Onnx(contexts("dqn")).export()
    assert "rl-cli[onnx]" in refused.value.fix


class OwnEncoder(Identity):
    """What a package could add."""


def test_unknown_parts_are_refused_by_name(tmp_path):
    agent = make_agent("dqn", "NoiseDiscrete-v0")
    agent.algo.net.encoder = OwnEncoder((3,))
    with pytest.raises(BadInput, match="OwnEncoder"):
        _ = make_context(agent, tmp_path).traced
    agent.algo.policy = SimpleNamespace()
    with pytest.raises(BadInput, match="SimpleNamespace"):
        _ = make_context(agent, tmp_path).traced


def test_an_algorithm_that_acts_in_another_way_is_noticed(tmp_path, monkeypatch):
    """Its policy is one of ours, but `predict` does something else."""
    agent = make_agent("dqn", "NoiseDiscrete-v0")
    monkeypatch.setattr(agent.algo, "predict", lambda obs, rng: np.zeros(len(obs), np.int64))
    context = make_context(agent, tmp_path)
    with pytest.raises(RunError, match="action differs"):
        context.compare(context.traced.graph.run)


SCORES = np.array([[1.0, 1.0 + 1e-5], [0.0, 4.0]], np.float32)
PICKS = np.array([0, 1])
BOX_ACTIONS = np.array([[0.5], [10.0]], np.float32)


def test_comparison_of_scores_allows_rounding_and_ties_only():
    same = {"action": PICKS, "scores": SCORES}
    found = compare({"action": np.array([1, 1]), "scores": SCORES + np.float32(1e-4)}, same)
    assert found.other_actions == 1
    assert found.largest == pytest.approx(1e-4, rel=0.01)
    assert found.bound == pytest.approx(4e-4)
    for action, scores in ((PICKS, SCORES + 1), (1 - PICKS, SCORES), (PICKS, SCORES * np.nan)):
        with pytest.raises(RunError):
            compare({"action": action, "scores": scores.astype(np.float32)}, same)


@pytest.mark.parametrize(
    ("shift", "kind", "fits"),
    [
        (9e-4, np.float32, True),
        (2e-3, np.float32, False),
        (0, np.float64, False),
        (np.nan, np.float32, False),
    ],
)
def test_comparison_of_continuous_actions(shift, kind, fits):
    reference = {"action": BOX_ACTIONS}
    found = {"action": (BOX_ACTIONS + np.float32(shift)).astype(kind)}
    if fits:
        assert compare(found, reference).largest == pytest.approx(shift, rel=0.01)
    else:
        with pytest.raises(RunError):
            compare(found, reference)


def test_whole_numbers_may_be_rounded_the_other_way_rarely():
    whole = np.arange(200, dtype=np.int32)[:, None]
    assert compare({"action": whole + (whole == 7)}, {"action": whole}).largest == 1
    for other in (whole + 1, whole + 2 * (whole == 7)):
        with pytest.raises(RunError):
            compare({"action": other.astype(np.int32)}, {"action": whole})
