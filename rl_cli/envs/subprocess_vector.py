"""Envs in processes of their own: for slow ones, and for ones that may hang or die.

What is computed is the same as in one process, to the bit; a test compares. Observations, rewards and
actions lie in memory that all share; a pipe to each process carries a few bytes a step.
"""

from __future__ import annotations

import contextlib
import json
import mmap
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NoReturn, cast

import numpy as np

from rl_cli.config.env import EnvConfig
from rl_cli.core import processes
from rl_cli.core.errors import EnvFault, RunError
from rl_cli.core.types import LIFE, EnvSpec, State
from rl_cli.envs.make import env_fault, make_env
from rl_cli.envs.vector import VectorEnv
from rl_cli.envs.wrappers import Env

STEP, RESET, REPLAY, CLOSE = b"s", b"r", b"p", b"c"


class Shared:
    """Arrays that forked processes see alike, a row for each env."""

    def __init__(self, num_envs: int, spec: EnvSpec) -> None:
        self.obs = _shared((num_envs, *spec.obs_shape), np.dtype(spec.obs_dtype))
        self.action = _shared((num_envs, *spec.action.shape), np.dtype(spec.action.dtype))
        self.reward = _shared((num_envs,), np.dtype(np.float64))
        self.terminated = _shared((num_envs,), np.dtype(bool))
        self.truncated = _shared((num_envs,), np.dtype(bool))
        self.goes_on = _shared((num_envs,), np.dtype(bool))  # terminated by the loss of a life
        self.busy = _shared((num_envs,), np.dtype(bool))  # whose code is running


def _shared(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(count * dtype.itemsize, 1))
    return np.frombuffer(memory, dtype, count).reshape(shape)


class WorkerVectorEnv(VectorEnv):
    """The same N envs, shared out to `workers` processes that step at the same time.

    Args:
        timeout: seconds a process may take to answer; 0: as long as it likes.

    Raises:
        EnvFault: an env raised, hung, or its process ended; names the env. All processes are gone
            when it is raised.

    """

    def __init__(self, cfg: EnvConfig, seeds: list[int], workers: int, timeout: float) -> None:
        super().__init__(cfg, seeds)
        self.shared, self.timeout = Shared(self.num_envs, self.spec), timeout or None
        shares = np.array_split(np.arange(self.num_envs), workers)
        self.workers = [_Worker(cfg, share.tolist(), self) for share in shares]
        self.of = {i: worker for worker in self.workers for i in worker.envs}
        for worker in self.workers:
            self._answer(worker)

    def _make(self, cfg: EnvConfig, count: int) -> list[Env]:
        return [make_env(cfg)]  # to ask it for its spaces; it is never stepped

    def _step_each(self, action: np.ndarray) -> list[int]:
        n, shared = len(action), self.shared
        shared.action[:n] = action
        asked = [worker for worker in self.workers if worker.envs[0] < n]
        for worker in asked:
            self._ask(worker, STEP + n.to_bytes(4, "little"))
        for worker in asked:
            self._answer(worker)
        rewards, _, terminated, truncated = self.outcome
        self.spare[:n] = shared.obs[:n]
        rewards[:n], terminated[:n] = shared.reward[:n], shared.terminated[:n]
        self.reward_sum = float(rewards[:n].sum())
        for i, reward in enumerate(rewards[:n].tolist()):
            self.actions[i].append(action[i])
            self.returns[i] += reward
            self.lengths[i] += 1
            truncated[i] = shared.truncated[i] or self.lengths[i] >= self.time_limit
        over = terminated[:n] & ~shared.goes_on[:n]
        return np.flatnonzero(over | truncated[:n]).tolist()

    def _reset_one(self, i: int, seed: int | None) -> np.ndarray:
        self._ask(self.of[i], RESET + json.dumps({"env": i, "seed": seed}).encode())
        self._answer(self.of[i])
        return np.array(self.shared.obs[i])

    def _rng_state(self, i: int) -> State:
        self._ask(self.of[i], RESET + json.dumps({"env": i, "rng": True}).encode())
        return cast(State, json.loads(self._answer(self.of[i])))

    def _replay(self, i: int, begun: State, actions: np.ndarray) -> np.ndarray:
        worker = self.of[i]
        self._ask(worker, REPLAY + json.dumps({"env": i, "begun": begun}).encode())
        self._ask(worker, np.ascontiguousarray(actions, self.spec.action.dtype).tobytes())
        self._answer(worker)
        return np.array(self.shared.obs[i])

    def _ask(self, worker: _Worker, message: bytes) -> None:
        try:
            worker.pipe.send_bytes(message)
        except OSError:
            self._lost(worker)

    def _answer(self, worker: _Worker) -> bytes:
        try:
            if not worker.pipe.poll(self.timeout):
                self._hung(worker)
            answer = worker.pipe.recv_bytes()
        except (OSError, EOFError):
            self._lost(worker)
        if answer[:1] == b"!":
            self.close()
            raise EnvFault(*json.loads(answer[1:]))
        return answer[1:]

    def _hung(self, worker: _Worker) -> NoReturn:
        i = self._stuck(worker)
        self.close()
        raise EnvFault(
            f"the env has not responded for {self.timeout:g} s",
            self._where(i, self.shared.action[i], 1),
            "mend the env, or give it longer with step_timeout=<seconds>",
        )

    def _lost(self, worker: _Worker) -> NoReturn:
        i, killed = self._stuck(worker), processes.killed_by(worker.process) == "SIGKILL"
        how = processes.how_it_ended(worker.process)
        self.close()
        raise EnvFault(
            f"the process of the env {how}",
            self._where(i, self.shared.action[i], 1),
            "often a lack of memory: try fewer envs" if killed else "mend the env",
        )

    def _stuck(self, worker: _Worker) -> int:
        """The env a process was busy with; idle: its first."""
        return next((i for i in worker.envs if self.shared.busy[i]), worker.envs[0])

    def close(self) -> None:
        """End every process, the ones that do not listen as well."""
        for worker in self.workers:
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(CLOSE)
        for worker in self.workers:
            processes.end(worker.process)
            worker.pipe.close()
        self.workers = []
        super().close()


class _Worker:
    """A forked process and the envs that live in it."""

    def __init__(self, cfg: EnvConfig, envs: list[int], parent: WorkerVectorEnv) -> None:
        self.envs = envs
        self.process, self.pipe = processes.fork(
            lambda pipe: _Served(cfg, envs, parent, pipe).serve()
        )


class _Served:
    """The other end of the pipe: a vector env of its own over its share, driven by messages."""

    def __init__(
        self, cfg: EnvConfig, envs: list[int], parent: WorkerVectorEnv, pipe: Connection
    ) -> None:
        self.cfg, self.indices, self.pipe = cfg, envs, pipe
        self.shared, self.spec, self.decode = parent.shared, parent.spec, parent.decode

    def serve(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # the parent is gone
            answer = self._guarded(self._begin)
            while answer is not None:
                self.pipe.send_bytes(answer)
                message = self.pipe.recv_bytes()
                if message == CLOSE:
                    return
                answer = self._guarded(lambda: self._carry_out(message[:1], message[1:]))  # noqa: B023

    def _guarded(self, act: Callable[[], bytes]) -> bytes:
        try:
            return b"." + act()
        except RunError as error:
            return b"!" + json.dumps([error.what, error.where, error.fix]).encode()
        except Exception as error:
            told = env_fault(error, f"env={self._busy()}")
            return b"!" + json.dumps([told.what, told.where, told.fix]).encode()

    def _busy(self) -> int:
        return next((i for i in self.indices if self.shared.busy[i]), self.indices[0])

    def _begin(self) -> bytes:
        self.shared.busy[self.indices[0]] = True
        self.envs = VectorEnv(self.cfg, self.indices)
        self.shared.busy[self.indices[0]] = False
        return b""

    def _carry_out(self, kind: bytes, body: bytes) -> bytes:
        if kind == STEP:
            n = int.from_bytes(body, "little")
            for place, i in enumerate(self.indices):
                if i < n:
                    self._step(place, i)
            return b""
        asked: Mapping[str, Any] = json.loads(body)
        i = asked["env"]
        place = self.indices.index(i)
        if asked.get("rng"):
            return json.dumps(self.envs._rng_state(place)).encode()
        self.shared.busy[i] = True
        if kind == RESET:
            obs = self.envs._reset_one(place, asked["seed"])
        else:
            actions = np.frombuffer(self.pipe.recv_bytes(), self.spec.action.dtype)
            obs = self.envs._replay(place, asked["begun"], actions)
        self.shared.obs[i] = obs
        self.shared.busy[i] = False
        return b""

    def _step(self, place: int, i: int) -> None:
        shared = self.shared
        shared.busy[i] = True
        (choice,) = self.decode(shared.action[i : i + 1])
        obs, reward, terminated, truncated, _ = self.envs.envs[place].step(choice)
        shared.obs[i], shared.reward[i] = obs, reward
        shared.terminated[i], shared.truncated[i] = terminated, truncated
        shared.goes_on[i] = terminated is LIFE
        shared.busy[i] = False
