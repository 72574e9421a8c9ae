"""Group relative policy optimisation on word problems with TRL, from tables to a folder with what was trained.

The model answers each prompt several times; an answer is reinforced by how much its reward exceeds the
mean of its group (Shao et al. 2024, arXiv 2402.03300).
"""

import numpy as np
import polars as pl
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, set_seed
from trl import GRPOConfig, GRPOTrainer

from gsm8k.params import TRAIN, Grpo, Rewards
from gsm8k.problems import PROBLEMS, messages, prompt_text
from gsm8k.rewards import PARTS, reward_functions
from socrates.core.errors import DataError, TrainingError
from socrates.core.files import read_table
from socrates.model.loading import check_targets, load_base, load_tokenizer, require_gpu
from socrates.model.tokenisation import token_ids
from socrates.runs.fingerprint import run_config
from socrates.runs.launch import Process
from socrates.runs.session import training_session
from socrates.training import config
from socrates.training.schedule import BatchPlan, make_schedule, plan_batches

# Curves: the trainer's names -> ours.
CURVES = {
    "step": "step",
    "reward": "reward",
    **{f"rewards/{part}/mean": part for part in PARTS},
    "reward_std": "reward_deviation",
    "frac_reward_zero_std": "groups_without_difference",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "completion_tokens",
    "completions/clipped_ratio": "truncated",
    "clip_ratio/region_mean": "clipped",
    "loss": "loss",
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
}
# Parameters that TRL calls the same.
SAME_NAME = {"max_completion_length", "temperature", "learning_rate", "adam_beta1", "adam_beta2", "weight_decay",
             "max_grad_norm", "seed"}  # fmt: skip


class AdapterGRPOTrainer(config.AdapterCheckpoints, GRPOTrainer):
    """TRL's trainer."""


def train_grpo(
    paths: config.TrainPaths, params: config.TrainParams, grpo: Grpo, rewards: Rewards, process: Process
) -> str:
    """Train and write the folder and the curves; returns one line about the run."""
    if params.model.quantization != "none" and not grpo.lora:
        raise TrainingError("grpo.lora: quantised weights cannot be trained; set true, or quantization none")
    require_gpu(paths.base)
    if grpo.lora:
        check_targets(paths.base, params.lora.target_modules)
    tokenizer, table = load_tokenizer(paths.base), read_table(TRAIN, PROBLEMS)
    problems = problems_within(table, tokenizer, grpo.max_prompt_length)
    whole_steps = problems.height // grpo.prompts_per_step  # prompts that fill no step are left out
    plan = plan_batches(grpo, whole_steps * grpo.global_batch, process.world_size)
    sections = params.shaping(grpo=grpo, rewards=rewards)
    shapes = run_config(sections, [TRAIN, paths.base / "manifest.json"], __name__)
    args = grpo_config(grpo, params, plan)
    with training_session("gsm8k", process, shapes, params.run, plan.max_steps, paths.run_log) as session:
        if not session.trained:
            session.prepare(args)
            set_seed(grpo.seed)
            model = load_base(paths.base, params.model)
            tokenizer.padding_side = "left"
            trainer = AdapterGRPOTrainer(
                model=model,
                args=args,
                reward_funcs=reward_functions(rewards),
                train_dataset=scheduled_prompts(problems, plan.max_steps * grpo.prompts_per_step, grpo.seed),
                processing_class=tokenizer,
                peft_config=config.lora_config(params.lora) if grpo.lora else None,
            )
            session.train(trainer)
    if not process.is_main:
        return ""
    curves = config.training_curves(session.last_checkpoint, CURVES, plan.max_steps)
    about = {
        "steps": plan.max_steps,
        "completions": plan.max_steps * grpo.global_batch,
        "problems": problems.height,
        "prompts_too_long": table.height - problems.height,
        "processes": process.world_size,  # each draws its own completions and dropout
    }
    config.save_outputs(session.last_checkpoint, paths, sections, curves, **about)
    earned = curves["reward"].drop_nulls()
    return (
        f"{plan.max_steps} steps of {grpo.prompts_per_step} problems x {grpo.generations} completions, "
        f"{problems.height:,} problems kept, {about['prompts_too_long']} too long, "
        f"reward {earned[0]:.3f} -> {earned[-1]:.3f}"
    )


def problems_within(table: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, limit: int) -> pl.DataFrame:
    """The problems whose prompt has at most ``limit`` tokens. Raises :class:`DataError` where there is none."""
    prompts = [prompt_text(tokenizer, question) for question in table["question"]]
    lengths = [len(ids) for ids in token_ids(tokenizer, prompts)]
    kept = table.filter(pl.Series(lengths) <= limit)
    if not kept.height:
        raise DataError(
            f"grpo.max_prompt_length: raise it from {limit}; the shortest has {min(lengths)} tokens"
        )
    return kept


def grpo_config(grpo: Grpo, params: config.TrainParams, plan: BatchPlan) -> GRPOConfig:
    """The trainer's arguments; making them initialises the process group."""
    revision = params.model.revision
    return GRPOConfig(
        **config.common_arguments(params.run, params.deepspeed, plan.checkpointed),
        **grpo.model_dump(include=SAME_NAME),
        per_device_train_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.grad_accum_steps,
        steps_per_generation=plan.grad_accum_steps,  # a step learns from completions of its own: TRL saves none
        num_generations=grpo.generations,
        beta=grpo.kl,
        epsilon=grpo.clip,
        loss_type="grpo",
        scale_rewards="group" if grpo.normalise else "none",
        shuffle_dataset=False,  # the rows come in their order
        max_steps=plan.max_steps,
        lr_scheduler_type=grpo.schedule,
        warmup_steps=grpo.warmup_ratio,  # below 1 it is read as a ratio
        eval_strategy="no",
        data_seed=grpo.seed,
        # The reference model of the divergence is loaded by TRL itself, at the revision that is trained.
        model_init_kwargs={"revision": revision} if revision and grpo.kl else None,
    )


def scheduled_prompts(problems: pl.DataFrame, count: int, seed: int) -> Dataset:
    """``count`` problems as prompts in training order. TRL applies the tokenizer's chat template."""
    rows = np.arange(problems.height)
    order = make_schedule(rows, rows, count, group_size=1, seed=seed)
    chosen = problems[order].select("question", "answer").iter_rows()
    return Dataset.from_list([{"prompt": messages(text), "answer": answer} for text, answer in chosen])
