"""Every setting there is, with its default, its unit and its bounds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from glm130b.config.data import DataConfig, ObjectiveConfig
from glm130b.config.section import NonNegative, Positive, Section
from glm130b.config.units import Amount, Number, Share

Recompute = Literal["none", "selective", "full"]
PipelineSchedule = Literal["1f1b", "interleaved", "zero_bubble"]


class ModelConfig(Section):
    """Shape of the GLM transformer. Everything here is stored in a model folder's ``config.json``."""

    num_layers: Positive
    hidden_size: Positive
    num_heads: Positive
    ffn_size: Positive
    """Inner size of GeGLU; 8/3 of ``hidden_size`` costs what an ordinary 4x feed-forward does."""
    vocab_size: Positive
    """Rows of the embedding, padding ids included."""
    max_sequence_length: Positive
    layernorm_epsilon: Annotated[Number, Field(gt=0)] = 1e-5
    rope_base: Annotated[Number, Field(gt=1)] = 10000.0
    rope_frequencies: Literal["fp32", "fp16"] = "fp32"
    """Precision the inverse frequencies are rounded to; ``fp16`` is what the official code does."""
    conventions: Literal["own", "official"] = "own"
    """How the model is asked: as it is trained here, or as the authors' program asks the official one."""
    hidden_dropout: Annotated[Share, Field(ge=0, lt=1)] = 0.0
    """On both residual branches and on the embedding output."""
    attention_dropout: Annotated[Share, Field(ge=0, lt=1)] = 0.0
    """On attention probabilities; rules out the attention kernels that never hold these."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be an even multiple of num_heads {self.num_heads} "
                "(rotary positions turn dimensions in pairs)"
            )
        return self

    @property
    def head_size(self) -> int:
        """Dimensions of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def deepnorm_alpha(self) -> float:
        """Weight of the residual branch, ``(2 N)^(1/2)`` (GLM-130B, section 2.1)."""
        return float((2 * self.num_layers) ** 0.5)


class OptimizerConfig(Section):
    """AdamW. Biases and norms are not decayed."""

    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (0.9, 0.95)
    epsilon: Annotated[Number, Field(gt=0)] = 1e-8
    weight_decay: Annotated[Number, Field(ge=0)] = 0.1
    clip: Annotated[Number, Field(gt=0)] = 1.0
    """Largest norm of the whole gradient."""


class LearningRateConfig(Section):
    """Linear warm-up, then cosine to ``minimum``, then constant; all by samples."""

    peak: Annotated[Number, Field(gt=0)] = 8e-5
    initial: Annotated[Number, Field(ge=0)] = 1e-7
    minimum: Annotated[Number, Field(ge=0)] = 8e-6
    warmup: Amount = Amount(0.005, "share")
    decay: Amount = Amount(0.9, "share")
    """Where the cosine reaches ``minimum``, counted from the start of the run."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if max(self.initial, self.minimum) > self.peak:
            raise ValueError(f"initial and minimum must not exceed peak {self.peak:g}")
        return self


class BatchConfig(Section):
    """Sequences in a step: from ``start`` to ``end`` in steps of ``increment`` over the first ``ramp``."""

    start: Positive | None = None
    """Default: ``end``, no ramp."""
    end: Positive = 32
    increment: Positive = 1
    ramp: Amount = Amount(0, "samples")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        start = self.start or self.end
        if start > self.end or (self.end - start) % self.increment:
            raise ValueError(f"end {self.end} must be start {start} plus a multiple of increment {self.increment}")
        return self


class AlphaChange(Section):
    """A move of alpha to another value, linear in the samples trained."""

    at: Amount
    """Where it begins, counted from the start of the run."""
    over: Amount = Amount(0, "samples")
    to: Annotated[Number, Field(gt=0, le=1)]


class EmbeddingGradientShrink(Section):
    """``E = alpha E + (1 - alpha) detach(E)``: the forward pass is unchanged, the gradient is scaled."""

    alpha: Annotated[Number, Field(gt=0, le=1)] = 1.0
    on_output: bool = False
    """Also on the tied output matrix, as the authors did from the fourth week on."""
    changes: tuple[AlphaChange, ...] = ()
    """Later values, in order; the authors went to 1 over 500 steps, and back when the loss exploded."""


class LossScaleConfig(Section):
    """Dynamic loss scale for FP16."""

    initial: Positive = 65536
    window: Positive = 2000
    hysteresis: Positive = 2
    floor: Positive = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.floor > self.initial:
            raise ValueError(f"floor {self.floor} exceeds initial {self.initial}")
        return self


def _length(total: Amount) -> Amount:
    if total.unit == "share" or total.value == 0:
        raise ValueError("a run's length is given in samples or tokens, and is not 0")
    return total


class LoaderConfig(Section):
    """Who makes the sequences. Nothing here changes what they are."""

    workers: NonNegative = 0
    """Processes that make sequences ahead of the training; 0 makes them in between steps."""
    prefetch: Positive = 8
    """Sequences that each worker keeps ready."""
    stall_seconds: Annotated[Number, Field(gt=0)] = 300.0
    """With workers: give up when no sequence has come for so long."""


def _on_or_off(value: object) -> object:
    """YAML reads a bare on or off as a truth value."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class TrainConfig(Section):
    """How long, how fast and on what to train."""

    total: Annotated[Amount, AfterValidator(_length)] = Amount(1000, "samples")
    """Length of the run that the schedules are laid out over."""
    max_steps: Positive | None = None
    """Stop after this many steps, whatever ``total`` says; the schedules do not change."""
    micro_batch_size: Positive = 1
    """Sequences in one forward pass; gradients are summed over the passes of a step."""
    recompute: Recompute = "none"
    """What is computed again in the backward pass rather than kept: ``full`` keeps only each layer's input,
    ``selective`` all but the products inside GeGLU, which are large and cheap."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1``, …; ``auto`` takes a GPU where there is one."""
    loss: Literal["sequence", "token"] = "sequence"
    """Mean over sequences of the mean over their targets (the authors'), or mean over all targets of a step."""
    optimizer: OptimizerConfig = OptimizerConfig()
    learning_rate: LearningRateConfig = LearningRateConfig()
    batch: BatchConfig = BatchConfig()
    embedding_gradient_shrink: EmbeddingGradientShrink = EmbeddingGradientShrink()
    loss_scale: LossScaleConfig = LossScaleConfig()
    loader: LoaderConfig = LoaderConfig()
    compile: Annotated[Literal["auto", "on", "off"], BeforeValidator(_on_or_off)] = "auto"
    """Compile each layer (torch.compile); ``auto`` does so on GPUs."""


class CheckpointConfig(Section):
    """When to save, and how many to keep."""

    every_steps: Positive = 250
    keep: Positive = 2
    """The newest so many."""
    keep_every: NonNegative = 0
    """Keep for good those of every so many steps; 0 keeps none of them."""
    asynchronous: bool = True
    """Write while the training goes on, from a copy in main memory."""
    allow_changed_optimizer: bool = False
    """Resume with other ``train.optimizer`` settings than the checkpoint was trained with."""


class EvalConfig(Section):
    """Held-out loss during training."""

    every_steps: NonNegative = 0
    """0 turns it off."""
    sequences: Positive = 32


class ParallelConfig(Section):
    """The device mesh: ``pipeline`` x ``data`` x ``tensor`` ranks, the last index running fastest."""

    tensor: Positive = 1
    pipeline: Positive = 1
    data: Positive = 1
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What data-parallel ranks divide among them: nothing, optimizer state, gradients too, parameters too."""
    sequence: bool = False
    """Tensor-parallel ranks also divide the sequence between the matrix products (sequence parallelism)."""
    schedule: PipelineSchedule = "1f1b"
    """Order of forward and backward passes in a pipeline; ``zero_bubble`` is ZB-V, two stages on each rank."""
    virtual_stages: Positive = 2
    """Stages on each rank, for ``interleaved``."""


class ElasticConfig(Section):
    """What happens when a process or a node dies or hangs."""

    restarts: NonNegative = 100
    """How often all processes are started anew from the newest checkpoint."""
    hang_seconds: Annotated[Number, Field(gt=0)] = 600.0
    """A rank that gets nowhere for so long is reported and the job is started anew."""


class RunConfig(Section):
    """One run, whole."""

    name: str = "run"
    seed: NonNegative = 1234
    model: ModelConfig
    data: DataConfig = DataConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    train: TrainConfig = TrainConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    eval: EvalConfig = EvalConfig()
    parallel: ParallelConfig = ParallelConfig()
    elastic: ElasticConfig = ElasticConfig()
    tensorboard: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.data.seq_length > self.model.max_sequence_length:
            raise ValueError(
                f"data.seq_length {self.data.seq_length} exceeds model.max_sequence_length "
                f"{self.model.max_sequence_length}; lower the one or raise the other"
            )
        if self.data.seq_length % self.objective.windows_per_sequence:
            raise ValueError(
                f"data.seq_length {self.data.seq_length} must be a multiple of "
                f"objective.windows_per_sequence {self.objective.windows_per_sequence}"
            )
        if self.data.text_length // self.objective.windows_per_sequence < 8:
            raise ValueError(
                f"a [MASK] window has fewer than 8 of the {self.data.text_length} tokens of a piece; "
                "lower objective.windows_per_sequence or raise data.seq_length"
            )
        return self

    @property
    def total_samples(self) -> int:
        """Length of the run in samples; the schedules are laid out over it."""
        return max(1, self.train.total.samples(total=0, seq_length=self.data.seq_length))
