"""Collects what is known when trouble shows, and writes it beside the run."""

import sys
from pathlib import Path

import keras
import numpy as np

import kseparation
from kseparation.config.loading import dump_config
from kseparation.data.batch_arrays import numbered
from kseparation.errors import KSeparationError
from kseparation.training.examination import plain_losses
from kseparation.training.incidents import Incident, has_room, write_incident
from kseparation.training.safe_ladder import safe_ladder
from kseparation.training.state import read_state
from kseparation.training.weight_averaging import averaged_weights
from kseparation.workflows.environment import describe_environment


class IncidentRecord:
    """Writes the incidents of a training.

    Args:
        fitting: the training, a `Fitting`.
    """

    def __init__(self, fitting):
        self.fitting = fitting

    def write(self, event, action, step, epoch, reason, trace, facts) -> Path | None:
        """Writes the folder of one incident; returns it, or None where there are enough of them or it cannot be written, which is said."""
        try:
            micro_batches = [] if event == "validation" else self._micro_batches(step, facts)
            incident, returns = Incident(event, action, step, epoch, reason, micro_batches, trace=trace), len(self.fitting.policy.returns)
            if not has_room(self.fitting.folder, incident, returns):
                return None  # before anything is copied
            self._collect(incident, facts)
            return write_incident(self.fitting.folder, incident, dump_config(self.fitting.config), returns)
        except (OSError, KSeparationError) as error:
            print(f"the evidence of step {step} could not be written: {error}", file=sys.stderr)
        except Exception as error:  # the training is worth more than the evidence
            print(f"the evidence of step {step} could not be collected: {type(error).__name__}: {error}", file=sys.stderr)
        return None

    def _collect(self, incident, facts):
        """Completes an incident."""
        fitting = self.fitting
        model, optimizer = fitting.model, fitting.model.optimizer
        incident.plan, incident.batches = self._bad_validation() if incident.event == "validation" else self._batches(incident.micro_batches, incident.event)
        before = None
        if incident.event != "unreadable":  # a batch that could not be read says nothing about the state
            before, incident.at = fitting.snapshots.trusted(incident.step), read_state(model)
        if before:
            incident.before_step, incident.before = before.step, before.arrays
        incident.losses = list(fitting.steps.recent)
        if (record := optimizer.record) is not None:
            incident.recorded = {"layers": record.layers, **record.read()}
            if (scales := model.activations) is not None:
                incident.activations = dict(zip(("steps", "scales"), scales.last_steps(record.steps), strict=True), layers=scales.layers)
        dropout = getattr(model, "dropout", 0.0)
        rungs = safe_ladder(fitting.config, dropout if isinstance(dropout, float) else 0.0)
        incident.next_rung = (rungs[0].words, rungs[0].overrides) if rungs else None
        incident.facts = {
            "version": kseparation.__version__,
            "backend": keras.backend.backend(),
            "detours": fitting.detours.windows(),
            "detector": before.notes.get("detector") if before else None,
            "recovery": fitting.policy.state(),
            "environment": describe_environment(),
            **facts,
        }

    def _micro_batches(self, step, facts):
        if "position" in facts:
            return [{"position": facts["position"], "draw": facts["draw"]}]
        accumulate = self.fitting.config.training.accumulate_steps
        return [{"position": position, "draw": self.fitting.detours.draw(position)} for position in range((step - 1) * accumulate, step * accumulate)]

    def _batches(self, micro_batches, event):
        """Plan and arrays of the batches: those that were trained on, or else read again, for they are pure functions of their place."""
        plan, arrays = [], {}
        # What could not be read was not handed out: at its place another draw was.
        handed_out = self.fitting.batches_of([batch["position"] for batch in micro_batches]) if event != "unreadable" else {}
        for number, batch in enumerate(micro_batches):
            place = divmod(batch["position"], self.fitting.batches_per_epoch)
            plan.append([])
            try:
                plan[-1] += self.fitting.task.described(self.fitting.batches.plan(*place, batch["draw"]))
                found = handed_out.get(batch["position"]) or self.fitting.batches.batch(*place, batch["draw"])
                arrays |= numbered(found, self.fitting.task.batch_names, number)
            except Exception:  # what could not be made or read before
                continue
        return plan, arrays

    def _bad_validation(self):
        """The first batch of the validation whose loss is not finite, computed as the validation did."""
        segments, model = self.fitting.validation.batches, self.fitting.model
        with averaged_weights(model):
            for index in range(len(segments)):
                batch = segments[index]
                if not np.isfinite(plain_losses(model, *batch)["total"]):
                    return [{"validation_batch": index, "segments": segments.plan(index)}], numbered(batch, self.fitting.task.batch_names, 0)
        return [], {}
