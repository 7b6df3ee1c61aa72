"""Who carries out the steps of a run: this process, or several workers."""

from dataclasses import dataclass
from functools import partial

from retain.api.lost import can_go_on
from retain.api.place import JOURNAL, Place
from retain.api.prepared import Options, Prepared, allow
from retain.errors import RetainError, did_you_mean
from retain.execute import (
    Listener,
    Memory,
    Staff,
    Summary,
    by_urgency,
    carry_out,
    carry_out_by,
    ordered,
)
from retain.execute.worker import Assignment
from retain.pipeline.data_steps import is_of_data
from retain.pipeline.runners import Runners
from retain.steps.journal import Journal
from retain.steps.packed import pack

HERE, RAY = "here", "ray"


@dataclass(frozen=True, kw_only=True)
class Where:
    """Which workers do the steps; changes no result.

    Attributes:
        jobs: How many at once; None: this process alone, or as many as a cluster has room for.
        on: ``here``, or ``ray``.

    Raises:
        RetainError: If there is no such number or place.
    """

    jobs: int | None = None
    on: str = HERE

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise RetainError(f"--jobs: got {self.jobs}; give 1 or more")
        if self.on not in (HERE, RAY):
            raise RetainError(f"--on: {did_you_mean('place', self.on, [HERE, RAY])}")

    def check(self, place: Place) -> None:
        """Refuse what cannot be led to the store.

        Raises:
            RetainError: If nodes of a cluster would have to share an object store.
        """
        if self.on == RAY and place.is_remote:
            raise RetainError(
                f"--on ray: its nodes hand steps on by a shared disk, and {place} is none; give "
                "--runs a folder that every node sees, or leave --on out"
            )

    @property
    def is_one_process(self) -> bool:
        """Whether no worker is needed."""
        return self.on == HERE and self.jobs in (None, 1)


def carry_out_where(
    where: Where, prepared: Prepared, options: Options | None, listener: Listener
) -> Summary:
    """Finish every step of a prepared recipe.

    Raises:
        RetainError: As ``carry_out``; or if there cannot be so many workers.
        Interrupted: After a signal; the same call goes on.
    """
    resolved, graph, store = prepared.resolved, prepared.graph, prepared.store
    runners = Runners(resolved, graph)
    journal = Journal(prepared.runs / resolved.recipe.name / JOURNAL)
    goes_on = partial(can_go_on, graph)
    if where.is_one_process or all(map(store.finished, graph.steps)):
        return carry_out(
            graph.steps, store, run=runners, journal=journal, listener=listener, goes_on=goes_on
        )
    assignment = Assignment(
        root=store.root,
        steps=pack(ordered(graph.steps)),
        run=runners,
        begin=partial(allow, options),
        open_store=store.opener(),
    )
    staff, memory = _staff(where, prepared, assignment)
    return carry_out_by(
        staff,
        by_urgency(graph.steps, at_once=is_of_data),
        store,
        journal=journal,
        listener=listener,
        goes_on=goes_on,
        memory=memory,
    )


def _staff(where: Where, prepared: Prepared, assignment: Assignment) -> tuple[Staff, Memory]:
    """The workers, and what they share besides: memory, where they are on one machine."""
    from retain.estimate import Needs
    from retain.model.memory import free_bytes

    needs = Needs(prepared.resolved, prepared.graph, prepared.store)
    if where.on == RAY:
        from retain.execute.on_ray import RayActors

        new = [step for step in prepared.graph.steps if not prepared.store.finished(step)]
        largest = max(map(needs.memory_bytes, new))
        return RayActors(assignment, where.jobs, largest), Memory()
    from retain.execute.processes import Processes, visible_gpus

    staff = Processes(assignment, where.jobs or 1)
    if visible_gpus():  # each worker has the memory of its own
        return staff, Memory()
    return staff, Memory(room_bytes=free_bytes(), of=needs.memory_bytes)
