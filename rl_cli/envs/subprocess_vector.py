"""Envs in forked worker processes: for slow envs, and for envs that may hang or crash.

Results equal those of `VectorEnv` bit for bit. Observations, rewards and actions are in shared
memory; each step sends a few bytes through a pipe to each worker.
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
from rl_cli.core.errors import EnvFault, NonFinite
from rl_cli.core.types import EnvSpec, State
from rl_cli.envs.action_log import bytes_of
from rl_cli.envs.atari import LIFE_LOST
from rl_cli.envs.episode_info import success_of
from rl_cli.envs.faults import env_fault
from rl_cli.envs.make import make_env
from rl_cli.envs.vector import VectorEnv
from rl_cli.envs.wrappers import Env

STEP, RESET, REPLAY, CLOSE = b"s", b"r", b"p", b"c"
"""First byte of a message to a worker."""

OK, ERROR = b".", b"!"
"""First byte of its reply."""


class SharedArrays:
    """Arrays in memory that forked processes share, one row per env."""

    def __init__(
        self, num_envs: int, spec: EnvSpec, obs_dtype: np.dtype[Any], log_info: int
    ) -> None:
        self.obs = _shared((num_envs, *spec.obs_shape), obs_dtype)
        self.action = _shared((num_envs, *spec.action.shape), np.dtype(spec.action.dtype))
        self.reward = _shared((num_envs,), np.dtype(np.float64))
        self.terminated = _shared((num_envs,), np.dtype(bool))  # also by the loss of a life
        self.truncated = _shared((num_envs,), np.dtype(bool))
        self.ended = _shared((num_envs,), np.dtype(bool))  # the episode is over: reset the env
        self.info = _shared(
            (num_envs, log_info), np.dtype(np.float64)
        )  # as InfoLog.read returns it
        self.success = _shared((num_envs,), np.dtype(np.int8))  # -1: the env does not say
        self.busy = _shared((num_envs,), np.dtype(bool))  # code of this env is running


def _shared(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(count * dtype.itemsize, 1))
    return np.frombuffer(memory, dtype, count).reshape(shape)


class WorkerVectorEnv(VectorEnv):
    """N envs in `workers` processes, each of which steps its share of them.

    Args:
        timeout: seconds that a worker may take to reply; 0: no limit.

    Raises:
        EnvFault: an env raised an exception or did not reply in time, or its process ended; names
            the env. All workers have ended when it is raised.

    """

    def __init__(self, cfg: EnvConfig, seeds: list[int], workers: int, timeout: float) -> None:
        super().__init__(cfg, seeds)
        self.shared = SharedArrays(self.num_envs, self.spec, self.raw.dtype, len(cfg.log_info))
        self.timeout = timeout or None
        shares = np.array_split(np.arange(self.num_envs), workers)
        self.workers = [_Worker(cfg, share.tolist(), self) for share in shares]
        self.worker_of = {i: worker for worker in self.workers for i in worker.env_ids}
        for worker in self.workers:
            self._receive(worker)

    def _make_envs(self, cfg: EnvConfig, count: int) -> list[Env]:
        return [make_env(cfg)]  # only for its spaces; it is never stepped

    def _step_envs(self, action: np.ndarray) -> list[int]:
        n, shared = len(action), self.shared
        shared.action[:n] = action
        stepping = [worker for worker in self.workers if worker.env_ids[0] < n]
        for worker in stepping:
            self._send(worker, STEP + n.to_bytes(4, "little"))
        for worker in stepping:
            self._receive(worker)
        rewards, _, terminated, truncated = self.outcome
        self.spare[:n] = shared.obs[:n]
        rewards[:n], terminated[:n] = shared.reward[:n], shared.terminated[:n]
        self.magnitude = float(np.abs(rewards[:n]).sum())
        size, data = self.actions[0].row_bytes, bytes_of(action, self.spec.action)
        for i, reward in enumerate(rewards[:n].tolist()):
            self.actions[i].add(data[i * size : (i + 1) * size])
            self.returns[i] += reward
            self.lengths[i] += 1
            truncated[i] = shared.truncated[i] or self.lengths[i] >= self.time_limit
            if self.infos.keys:
                self.infos.add(i, shared.info[i])
        ended: list[int] = np.flatnonzero(shared.ended[:n] | truncated[:n]).tolist()
        for i in ended:
            self.infos.end(i, None if shared.success[i] < 0 else bool(shared.success[i]))
        return ended

    def reset_env(self, i: int, seed: int | None, draws: int) -> tuple[np.ndarray, State]:
        request = json.dumps({"env": i, "seed": seed, "draws": draws})
        self._send(self.worker_of[i], RESET + request.encode())
        seeds = json.loads(self._receive(self.worker_of[i]))
        return np.array(self.shared.obs[i]), seeds

    def rng_state(self, i: int) -> State:
        self._send(self.worker_of[i], RESET + json.dumps({"env": i, "rng": True}).encode())
        return cast(State, json.loads(self._receive(self.worker_of[i])))

    def replay_one(
        self, i: int, start_state: State, actions: np.ndarray
    ) -> tuple[np.ndarray, bool]:
        worker = self.worker_of[i]
        request = json.dumps({"env": i, "start_state": start_state})
        self._send(worker, REPLAY + request.encode())
        self._send(worker, np.ascontiguousarray(actions, self.spec.action.dtype).tobytes())
        drew = json.loads(self._receive(worker))
        return np.array(self.shared.obs[i]), drew

    def _send(self, worker: _Worker, message: bytes) -> None:
        try:
            worker.pipe.send_bytes(message)
        except OSError:
            self._raise_ended(worker)

    def _receive(self, worker: _Worker) -> bytes:
        """The body of a worker's reply."""
        try:
            if not processes.poll_running(worker.pipe, self.timeout):
                self._raise_timed_out(worker)
            reply = worker.pipe.recv_bytes()
        except (OSError, EOFError):
            self._raise_ended(worker)
        if reply[:1] == ERROR:
            self._end_workers()
            code, *lines = json.loads(reply[1:])
            raise NonFinite(*lines) if code == NonFinite.exit_code else EnvFault(*lines)
        return reply[1:]

    def _raise_timed_out(self, worker: _Worker) -> NoReturn:
        i = self._busy_env(worker)
        self._end_workers()
        raise EnvFault(
            f"the env has not responded for {self.timeout:g} s",
            self._location(i, self.shared.action[i], completed=False),
            "fix the env, or raise the limit with step_timeout=<seconds>",
        )

    def _raise_ended(self, worker: _Worker) -> NoReturn:
        i, killed = self._busy_env(worker), processes.killed_by(worker.process) == "SIGKILL"
        how = processes.how_it_ended(worker.process)
        self._end_workers()
        raise EnvFault(
            f"the process of the env {how}",
            self._location(i, self.shared.action[i], completed=False),
            "often out of memory: try fewer envs" if killed else "fix the env",
        )

    def _busy_env(self, worker: _Worker) -> int:
        """The env whose code a worker was running; its first env if none."""
        return next((i for i in worker.env_ids if self.shared.busy[i]), worker.env_ids[0])

    def close(self) -> list[str]:
        """Close the envs of every worker and end it; one that does not respond in time is killed."""
        problems = self._end_workers(wait=True)
        return list(dict.fromkeys([*problems, *super().close()]))

    def _end_workers(self, wait: bool = False) -> list[str]:
        """End every worker. `wait`: until it has closed its envs. -> why that failed."""
        problems: list[str] = []
        for worker in self.workers:
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(CLOSE)
        for worker in self.workers:
            if wait:
                problems += self._closing_problems(worker)
            processes.end(worker.process)
            worker.pipe.close()
        self.workers = []
        return problems

    def _closing_problems(self, worker: _Worker) -> list[str]:
        try:
            while processes.poll_running(worker.pipe, self.timeout):
                reply = worker.pipe.recv_bytes()
                if reply[:1] == CLOSE:  # others answer earlier requests
                    return cast(list[str], json.loads(reply[1:]))
        except (OSError, EOFError):
            return [f"the process of the env {processes.how_it_ended(worker.process)}"]
        return [f"the env has not responded for {self.timeout:g} s"]


class _Worker:
    """The parent's handle of a forked process: its envs, its process, its pipe."""

    def __init__(self, cfg: EnvConfig, env_ids: list[int], parent: WorkerVectorEnv) -> None:
        self.env_ids = env_ids
        self.process, self.pipe = processes.fork(
            lambda pipe: _WorkerLoop(cfg, env_ids, parent, pipe).run()
        )


class _WorkerLoop:
    """The code of a worker process: a `VectorEnv` of its share, driven by messages."""

    def __init__(
        self, cfg: EnvConfig, env_ids: list[int], parent: WorkerVectorEnv, pipe: Connection
    ) -> None:
        self.cfg, self.env_ids, self.pipe = cfg, env_ids, pipe
        self.envs: VectorEnv | None = None
        self.shared, self.spec, self.decode = parent.shared, parent.spec, parent.decode
        self.seeds = [parent.seeds[i] for i in env_ids]

    def run(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # the parent has ended
            reply = self._guarded(self._start)
            while reply is not None:
                self.pipe.send_bytes(reply)
                message = self.pipe.recv_bytes()
                if message == CLOSE:
                    problems = [] if self.envs is None else self.envs.close()
                    self.pipe.send_bytes(CLOSE + json.dumps(problems).encode())
                    return
                reply = self._guarded(lambda: self._handle(message[:1], message[1:]))  # noqa: B023

    def _guarded(self, handle: Callable[[], bytes]) -> bytes:
        """The reply: the result, or the error as JSON."""
        try:
            return OK + handle()
        except BaseException as raised:
            error = env_fault(raised, f"env={self._busy_env()}")
        return ERROR + json.dumps([error.exit_code, error.what, error.where, error.fix]).encode()

    def _busy_env(self) -> int:
        return next((i for i in self.env_ids if self.shared.busy[i]), self.env_ids[0])

    def _start(self) -> bytes:
        self.shared.busy[self.env_ids[0]] = True
        self.envs = VectorEnv(self.cfg, self.seeds)
        self.shared.busy[self.env_ids[0]] = False
        return b""

    def _handle(self, kind: bytes, body: bytes) -> bytes:
        if kind == STEP:
            n = int.from_bytes(body, "little")
            for index, i in enumerate(self.env_ids):
                if i < n:
                    self._step(index, i)
            return b""
        assert self.envs is not None
        request: Mapping[str, Any] = json.loads(body)
        i = request["env"]
        index = self.env_ids.index(i)
        if request.get("rng"):
            return json.dumps(self.envs.rng_state(index)).encode()
        self.shared.busy[i] = True
        answer: object
        if kind == RESET:
            obs, answer = self.envs.reset_env(index, request["seed"], request["draws"])
        else:
            actions = np.frombuffer(self.pipe.recv_bytes(), self.spec.action.dtype)
            obs, answer = self.envs.replay_one(index, request["start_state"], actions)
        self.shared.obs[i] = obs
        self.shared.busy[i] = False
        return json.dumps(answer).encode()

    def _step(self, index: int, i: int) -> None:
        shared = self.shared
        shared.busy[i] = True
        assert self.envs is not None
        (choice,) = self.decode(shared.action[i : i + 1])
        obs, reward, terminated, truncated, info = self.envs.envs[index].step(choice)
        shared.obs[i], shared.reward[i], shared.truncated[i] = obs, reward, truncated
        shared.ended[i] = terminated or truncated
        success = success_of(info)
        shared.success[i] = -1 if success is None else success
        if self.cfg.log_info:
            shared.info[i] = self.envs.infos.read(info)
        life_lost = self.cfg.episodic_life and bool(info.get(LIFE_LOST))
        shared.terminated[i] = terminated or life_lost
        shared.busy[i] = False
