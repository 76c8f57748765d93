"""Configuration and snapshot → the plan of a run: every number that the loop needs, decided before step 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reprise_trainer.backends.interface import AdamW, Backend, Optimizer, Recipe, Sgd
from reprise_trainer.backends.models import Cnn, Gpt, Mlp, Model, Own
from reprise_trainer.config.checkpoint import CheckpointSection
from reprise_trainer.config.data import MadeData, OwnDataSection, StoreSection, places, source_digests
from reprise_trainer.config.model import CnnSection, GptSection, OwnSection
from reprise_trainer.config.optimizer import AdamWSection, SgdSection
from reprise_trainer.config.read import RunConfig
from reprise_trainer.config.train import TRAIN_SPLIT, TrainSection
from reprise_trainer.data.augment import Augmentation
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot, Snapshot
from reprise_trainer.errors import InputError, RefusedError, SystemFailureError
from reprise_trainer.training.checkpoints.retention import Retention
from reprise_trainer.training.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Plan:
    """What is computed in a run."""

    seed: int
    steps: int
    batch_size: int
    shards: int
    checkpoint_every: int
    schedule: Schedule
    model: Model
    recipe: Recipe
    retention: Retention = field(default_factory=Retention)

    def rate(self, step: int) -> float:
        """The learning rate of `step` (0, 1, …)."""
        return self.schedule.at(step)


def make_plan(config: RunConfig, source: OpenSnapshot) -> Plan:
    """The plan of the run that `config` describes, on the snapshot `source`.

    Raises:
        RefusedError: the snapshot was made from another artifact than the configuration names.
        InputError: the snapshot lacks a split or a field, or has one that the model does not take.
    """
    _require_provenance(config.data, source)
    steps = config.train.total_steps(source.snapshot.split(TRAIN_SPLIT).records)
    return Plan(
        seed=config.run.seed,
        steps=steps,
        batch_size=config.train.batch_size,
        shards=config.train.shards,
        checkpoint_every=config.checkpoint.every or steps,
        schedule=_schedule(config.train.optimizer, steps),
        model=_model(config, source.snapshot),
        recipe=_recipe(config.train),
        retention=_retention(config.checkpoint),
    )


def open_batches(data: MadeData | StoreSection, source: OpenSnapshot, plan: Plan) -> Batches:
    """The batches that a run trains on.

    Raises:
        InputError: the field to be augmented is not there, or no image.
    """
    augment = data.augment
    return Batches(
        source,
        TRAIN_SPLIT,
        seed=plan.seed,
        batch_size=plan.batch_size,
        order=data.order,
        augmentation=Augmentation(augment.field, augment.shift, augment.flip) if augment else None,
    )


def make_backend(name: str, plan: Plan) -> Backend:
    """The backend called `name`, for the plan's model and recipe. Loads the framework: set the profile before.

    Raises:
        SystemFailureError: the image does not hold the framework, or it does not run on this CPU.
    """
    try:
        return _BACKENDS[name](plan)
    except ModuleNotFoundError as error:
        raise SystemFailureError(
            f"backend {name!r} cannot be loaded: this environment has no {error.name}",
            hint="Name an environment that holds it (run.environment), or another train.backend.",
        ) from error
    except RuntimeError as error:  # jaxlib says so when the CPU lacks an instruction set that it was compiled for
        raise SystemFailureError(f"backend {name!r} does not start here: {error}") from error


def _torch(plan: Plan) -> Backend:
    from reprise_trainer.backends.torch_backend import TorchBackend

    return TorchBackend(plan.model, plan.recipe)


def _jax(plan: Plan) -> Backend:
    from reprise_trainer.backends.jax_backend import JaxBackend

    return JaxBackend(plan.model, plan.recipe)


_BACKENDS: Mapping[str, Callable[[Plan], Backend]] = {"torch": _torch, "jax": _jax}


def _require_provenance(data: MadeData | StoreSection, source: OpenSnapshot) -> None:
    if isinstance(data, StoreSection):
        if data.snapshot != source.digest:
            raise RefusedError(f"the snapshot is {source.digest}, the configuration names {data.snapshot}")
        return
    if {each.sha256 for each in source.snapshot.sources} != source_digests(data):
        made = ", ".join(f"{each.artifact} (sha256 {each.sha256})" for each in source.snapshot.sources)
        named = [f"{place.artifact or place.file} (sha256 {place.sha256})" for place in places(data)]
        if isinstance(data, OwnDataSection):
            named.append(f"the code {data.code.folder} (sha256 {data.code.sha256})")
        raise RefusedError(
            f"snapshot {source.snapshot.name!r} was made from {made}, the configuration names {', '.join(named)}"
        )


def _model(config: RunConfig, snapshot: Snapshot) -> Model:
    section = config.model
    if isinstance(section, OwnSection):
        return Own(section.model, section.loss, section.options)
    if isinstance(section, GptSection):
        return _gpt(section, snapshot)
    image, classes = _labelled_images(section.kind, snapshot)
    if isinstance(section, CnnSection):
        return Cnn(image, classes, tuple(section.channels), section.hidden, section.dropout)
    return Mlp(image, classes, tuple(section.hidden), section.dropout)


def _labelled_images(kind: str, snapshot: Snapshot) -> tuple[tuple[int, int], int]:
    """Height and width of the images that a built-in model of them takes, and the number of their classes."""
    shape, label = snapshot.field("image").shape, snapshot.field("label")
    if len(shape) != 2:
        raise InputError(
            f"snapshot {snapshot.name!r}: field 'image' has shape {list(shape)}, "
            f"model {kind!r} takes images of one channel, [height, width]",
            hint='`colour = "grey"` in a [data] of kind "images" makes them; or use a model of your own (kind "own").',
        )
    if not label.is_label:
        found = f"shape {list(label.shape)}" if label.shape else "no classes"
        raise InputError(
            f"snapshot {snapshot.name!r}: field 'label' has {found}, model {kind!r} takes one class a record",
            hint="`classes` in [data.fields.label] names them.",
        )
    return (shape[0], shape[1]), len(label.classes or ())


def _gpt(section: GptSection, snapshot: Snapshot) -> Gpt:
    field = snapshot.field("tokens")
    if len(field.shape) != 1 or field.shape[0] < 2 or not field.classes:
        raise InputError(f"snapshot {snapshot.name!r}: field 'tokens' is no row of two or more tokens with their names")
    return Gpt(
        vocabulary=len(field.classes),
        block=field.shape[0] - 1,
        layers=section.layers,
        heads=section.heads,
        width=section.width,
        dropout=section.dropout,
        tied=section.tied,
        recompute=section.recompute,
    )


def _retention(section: CheckpointSection) -> Retention:
    return Retention(section.keep_last, section.keep_every, section.keep_best, section.metric)


def _schedule(section: SgdSection | AdamWSection, steps: int) -> Schedule:
    if section.warmup >= steps:
        raise InputError(f"train.optimizer.warmup: {section.warmup} steps are not fewer than the run's {steps}")
    return Schedule(section.lr, section.schedule, steps, section.warmup, section.final)


def _recipe(section: TrainSection) -> Recipe:
    return Recipe(_optimizer(section.optimizer), section.clip_norm, section.ema_decay, section.precision)


def _optimizer(section: SgdSection | AdamWSection) -> Optimizer:
    if isinstance(section, SgdSection):
        return Sgd(section.momentum, section.weight_decay)
    return AdamW(section.beta1, section.beta2, section.epsilon, section.weight_decay)
