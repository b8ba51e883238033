"""Names that other programs give to our keys: Stable-Baselines3, RL Zoo, CleanRL, SheepRL, gymnasium."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class OtherName(NamedTuple):
    """What a name of another program is called here."""

    ours: tuple[str, ...]
    """Our keys by preference: the first one that the command has is the answer."""

    note: str
    """What differs in meaning or form; may be empty."""


_Row = tuple[str, str, str]

_ALGORITHM: tuple[_Row, ...] = (
    ("algo.learning_rate", "", "lr policy_lr actor_lr lr_actor step_size optimizer_lr init_lr"),
    ("algo.vf_learning_rate", "", "critic_lr lr_critic value_lr vf_lr"),
    ("algo.anneal_learning_rate", "true: linear decay to 0", "anneal_lr lr_schedule lr_decay"),
    ("algo.gamma", "", "discount discount_factor gae_gamma"),
    ("algo.adam_eps", "", "adam_epsilon optimizer_eps eps_adam"),
    ("algo.max_grad_norm", "", "grad_clip clip_grad grad_norm clip_gradients max_gradient_norm"),
    (
        "algo.hidden_sizes",
        "a list: algo.hidden_sizes=[64,64]",
        "net_arch hidden_size hidden_dim hidden_dims hidden_layers dense_units mlp_layers n_hidden"
        " layers layer_sizes units hidden_units num_units",
    ),
    (
        "algo.hidden_sizes algo.activation",
        "MLP or CNN follows from the observations",
        "policy policy_kwargs policy_type model network features_extractor_class",
    ),
    ("algo.activation", "relu or tanh", "activation_fn dense_act act nonlinearity"),
    (
        "algo.rollout_length algo.n_step",
        "",
        "n_steps nsteps",
    ),
    (
        "algo.rollout_length",
        "steps of each env between updates",
        "num_steps rollout_steps rollout_len horizon steps_per_epoch n_rollout_steps unroll_length",
    ),
    ("algo.num_epochs", "", "n_epochs update_epochs epochs ppo_epochs num_sgd_iter noptepochs"),
    (
        "algo.minibatch_size algo.batch_size",
        "",
        "batch_size mini_batch_size per_rank_batch_size sgd_minibatch_size minibatch",
    ),
    (
        "algo.minibatch_size",
        "the size of a minibatch, not their number",
        "num_minibatches n_minibatches nminibatches num_mini_batch",
    ),
    ("algo.gae_lambda", "", "lam lmbda lambda gae_lam gae"),
    ("algo.clip_coef", "", "clip_range clip_ratio cliprange eps_clip clip_param clip_epsilon"),
    ("algo.anneal_clip_coef", "true: linear decay to 0", "anneal_clip anneal_clip_range"),
    (
        "algo.clip_value_loss",
        "true or false; the range is algo.clip_coef",
        "clip_range_vf clip_vloss cliprange_vf",
    ),
    ("algo.ent_coef", "", "entropy_coef ent_weight entropy_coeff entropy_cost entropy_beta"),
    ("algo.anneal_ent_coef", "true: linear decay to 0", "anneal_ent anneal_entropy"),
    (
        "algo.vf_coef",
        "the loss is a mean squared error; CleanRL's has a factor 1/2",
        "value_coef vf_weight value_loss_coef critic_coef vf_loss_coeff",
    ),
    (
        "algo.normalize_advantage",
        "minibatch, rollout or none",
        "norm_adv normalize_advantages adv_norm",
    ),
    ("algo.target_kl", "", "kl_target max_kl desired_kl"),
    ("algo.std", "algo.std=gsde", "use_sde sde gsde"),
    ("algo.sde_sample_every", "", "sde_sample_freq"),
    ("algo.squash_actions", "", "squash_output tanh_squash"),
    ("algo.log_std_init", "", "init_log_std log_std"),
    (
        "algo.buffer_size",
        "transitions",
        "buffer.size replay_size replay_buffer_size buffer_capacity memory_size replay_capacity"
        " replay_memory replay_memory_size memory",
    ),
    (
        "algo.learning_starts",
        "env steps",
        "start_steps warmup_steps min_buffer_size learning_start start_learning burn_in",
    ),
    (
        "algo.train_every",
        "env steps, summed over all envs",
        "train_freq train_frequency update_freq update_frequency update_every train_interval",
    ),
    (
        "algo.gradient_steps",
        "updates per algo.train_every env steps",
        "utd replay_ratio updates_per_step num_updates",
    ),
    (
        "algo.target_update_every",
        "env steps, summed over all envs",
        "target_update_interval target_network_frequency target_update_freq target_update"
        " target_network_update_freq target_update_frequency",
    ),
    ("algo.tau", "weight of the online network in an update", "polyak soft_update target_tau"),
    ("algo.bootstrap", "algo.bootstrap=double", "double double_dqn use_double ddqn"),
    ("algo.layer_norm", "", "layernorm use_layer_norm use_layernorm norm_type"),
    ("algo.dueling", "", "dueling_dqn use_dueling"),
    ("algo.noisy", "", "noisy_net noisy_nets noisynet"),
    ("algo.n_step", "", "multi_step n_step_returns num_n_step"),
    ("algo.num_atoms", "", "n_atoms atoms n_quantiles num_quantiles"),
    ("algo.replay", "algo.replay=proportional", "prioritized_replay per use_per prioritized"),
    ("algo.priority_alpha", "", "prioritized_replay_alpha per_alpha"),
    ("algo.priority_beta", "", "prioritized_replay_beta0 prioritized_replay_beta per_beta"),
    (
        "algo.epsilon_steps",
        "env steps, not a fraction of the budget",
        "exploration_fraction eps_fraction exploration_steps eps_decay_steps",
    ),
    (
        "algo.epsilon_factor",
        "per episode; by steps: algo.epsilon_steps",
        "eps_decay exploration_decay",
    ),
    (
        "algo.epsilon_start",
        "it falls to algo.epsilon_end within algo.epsilon_steps",
        "epsilon eps exploration_rate",
    ),
    ("algo.epsilon_start", "", "exploration_initial_eps start_e eps_start initial_epsilon"),
    ("algo.epsilon_end", "", "exploration_final_eps end_e eps_end final_epsilon eps_min"),
)

_RUN: tuple[_Row, ...] = (
    (
        "total_timesteps",
        "env steps, summed over all envs",
        "total_steps timesteps n_timesteps num_timesteps max_steps max_timesteps steps"
        " total_env_steps total_frames num_frames frames env_steps nb_steps"
        " iterations num_iterations n_iterations max_iter",
    ),
    (
        "episodes total_episodes",
        "",
        "num_episodes n_episodes max_episodes nb_episodes",
    ),
    (
        "total_episodes",
        "the budget; of an evaluation: eval.episodes",
        "episodes",
    ),
    ("seed", "", "random_seed manual_seed seeds"),
    ("seed", "the same seed gives the same bits", "torch_deterministic deterministic_torch"),
    (
        "device",
        "device=cuda, or device=cpu",
        "gpu cuda use_cuda use_gpu accelerator device_id devices no_cuda cpu mps",
    ),
    ("threads", "CPU threads of torch", "num_threads n_threads torch_threads"),
    ("compile", "", "torch_compile jit"),
    (
        "quiet",
        "quiet=true prints warnings and errors only, and the tables of a sweep",
        "verbose verbosity log_level progress_bar silent",
    ),
    ("log.wandb", "log.wandb=true; needs the extra wandb", "wandb track use_wandb"),
    ("log.wandb", "the environment variable WANDB_ENTITY names it", "wandb_entity"),
    ("log.mlflow", "log.mlflow=true; needs the extra mlflow", "mlflow use_mlflow"),
    ("log.trackio", "log.trackio=true; needs the extra trackio", "trackio"),
    ("log.project", "", "wandb_project wandb_project_name"),
    ("log.sinks log.tensorboard", "curves go to metrics.csv and TensorBoard", "logger"),
    ("log.tensorboard", "true by default", "use_tensorboard tb"),
    (
        "run_dir",
        "the run's own folder; TensorBoard files lie in it",
        "tensorboard_log logdir log_dir log_folder save_dir output_dir save_path output out",
    ),
    ("run_dir", "the run's own folder", "exp_name run_name experiment_name name wandb_run_name"),
    ("log.every", "env steps", "log_interval log_freq log_every print_freq metric_log_every"),
    (
        "eval.every",
        "env steps, summed over all envs",
        "eval_freq eval_interval evaluation_frequency eval_frequency evaluate_every",
    ),
    ("episodes eval.episodes", "", "n_eval_episodes eval_episodes num_eval_episodes"),
    ("greedy eval.greedy", "", "deterministic eval_deterministic stochastic"),
    (
        "checkpoint.every",
        "env steps, summed over all envs",
        "save_freq checkpoint_freq save_interval checkpoint_every save_model_interval save_every"
        " save_steps",
    ),
    ("checkpoint.every", "checkpoints are written by default", "save_model save save_models"),
    (
        "run resume",
        "the run's folder",
        "load load_model trained_agent checkpoint_path model_path restore resume_from load_path",
    ),
    (
        "video video.episodes",
        "videos of evaluation episodes are written by default",
        "capture_video save_video record_video video record render render_mode enable_rendering",
    ),
    ("video.every", "env steps", "video_freq video_interval video_trigger"),
    ("jobs", "runs of a sweep at the same time", "n_jobs num_jobs max_concurrent"),
    (
        "workers",
        "processes that step the envs; 0: none",
        "num_workers n_workers n_cpu n_cpus num_cpu num_cpus vec_env vec_env_type vec_env_cls vec_env_class sync_env subproc",
    ),
    ("stop.eval_return", "", "reward_threshold target_reward solved_at stop_reward"),
    ("callbacks", "callbacks.<name>.<setting>=<value>", "callback"),
)

_ENV: tuple[_Row, ...] = (
    (
        "env.id",
        "env=<name> for an env in the list of --help, env.id=<id> for any other",
        "env_id env_name environment gym_id task game",
    ),
    ("env.kwargs", "env.kwargs.<name>=<value>", "env_kwargs make_kwargs env_args"),
    ("env.num_envs", "", "n_envs num_env nenvs num_envs n_env vec_envs"),
    (
        "env.max_episode_steps",
        "",
        "time_limit max_ep_len max_episode_length episode_length max_episode_len horizon_env",
    ),
    ("env.normalize_obs", "", "norm_obs obs_norm normalize_observation normalize_observations"),
    ("env.normalize_reward", "", "norm_reward reward_norm normalize_rewards normalize_return"),
    (
        "env.normalize_obs env.normalize_reward",
        "two keys",
        "normalize vec_normalize normalise vecnormalize",
    ),
    ("env.sign_reward", "", "clip_rewards clip_reward_sign reward_clipping"),
    ("env.frame_stack", "", "n_stack framestack num_stack stack_frames frame_stacks"),
    ("env.frame_skip", "", "action_repeat frameskip n_skip skip"),
    ("env.resize", "", "screen_size image_size img_size resize_shape"),
    ("env.grayscale", "", "gray_scale grayscale_obs grey"),
    ("env.episodic_life", "", "terminal_on_life_loss life_loss"),
    ("env.noop_max", "", "max_noops noops num_noops"),
)


def _table() -> dict[str, OtherName]:
    return {
        name: OtherName(tuple(ours.split()), note)
        for ours, note, names in (*_ALGORITHM, *_RUN, *_ENV)
        for name in names.split()
    }


OTHER_NAMES = _table()
"""Other name, in lower case with underscores -> ours."""


def answer(name: str, known: Iterable[str]) -> str | None:
    """What a name of another program is called here.

    Args:
        name: as typed, with or without a group: n_steps, algo.n_steps, total-timesteps.
        known: keys of the command.

    Returns:
        The answer for an error message; None: it is not in the table, or the command has no such key.

    """
    here = set(known)
    ours = next((key for key in ours_of(name) if key in here), None)
    return None if ours is None else say(name, ours)


def say(name: str, ours: str, more: str = "") -> str:
    """The answer for an error message: our key, what differs, and anything else to know about it."""
    notes = "; ".join(text for text in (note_of(name), more) if text)
    return f"did you mean {ours}?{f' ({notes})' if notes else ''}"


def ours_of(name: str) -> tuple[str, ...]:
    """Our keys for a name of another program, by preference; none: it is not in the table."""
    other = _found(name)
    return other.ours if other else ()


def note_of(name: str) -> str:
    """What differs in meaning or form; empty: nothing, or the name is not in the table."""
    other = _found(name)
    return other.note if other else ""


def _found(name: str) -> OtherName | None:
    """The row of a name: as a whole, or without its groups."""
    plain = plain_name(name)
    return OTHER_NAMES.get(plain) or OTHER_NAMES.get(plain.rpartition(".")[2])


def plain_name(name: str) -> str:
    """A name in lower case with underscores in place of hyphens."""
    return name.lower().replace("-", "_")
