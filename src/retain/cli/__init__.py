"""The command line: verbs, text and exit codes; nothing else.

Exit codes: 0 done, 1 the user's mistake (a message, no traceback), 2 a gate of the recipe failed,
130 interrupted (the same command goes on). Nothing heavy is imported here: each verb imports what
it runs.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from retain.cli.data import data_app
from retain.cli.words import words_of
from retain.errors import GateFailed, Interrupted, RetainError

app = typer.Typer(
    name="retain",
    help="Teach a language model phase after phase, measure what was forgotten, and prevent it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")

PRIMITIVES = "64"
"""Compiled products that oneDNN keeps: sequences of uneven length need another for each length, and
at its own 1,024 the kept ones take hundreds of megabytes."""
RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A path, or the name of a shipped recipe.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Values to change, by dotted name: phases.hindi.train.learning_rate=1e-5",
    ),
]
Runs = Annotated[
    str,
    typer.Option(
        "--runs", help="The folder that holds runs and their steps, or as s3://bucket/prefix."
    ),
]
RUNS = "runs"
TrustCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let a hub model run the code it brings.")
]
AllowGguf = Annotated[
    bool, typer.Option("--allow-gguf", help="Open a .gguf file that is not an embedded one.")
]

AcceptOld = Annotated[
    bool, typer.Option("--accept-old", help="Reuse steps that an older version of retain made.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", help="Steps at once, each in a process of its own."),
]
On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="here|ray",
        help="ray: on the cluster of RAY_ADDRESS, or one started on this machine.",
    ),
]


@app.command()
def run(  # noqa: PLR0913 - each is an option of the command
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    accept_old: AcceptOld = False,
    trust_remote_code: TrustCode = False,
    allow_gguf: AllowGguf = False,
    jobs: Jobs = None,
    on: On = "here",
) -> None:
    """Do whatever is not done yet, then write the report."""
    from retain import api

    outcome = api.run(
        recipe,
        overrides or (),
        runs=runs,
        options=api.Options(
            trust_remote_code=trust_remote_code, allow_gguf=allow_gguf, accept_old=accept_old
        ),
        show=True,
        jobs=jobs,
        on=on,
    )
    if outcome.failed_gates:
        raise GateFailed("\n".join(outcome.failed_gates))


@app.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    devices: Annotated[
        str,
        typer.Option(help="Where models or data are not here but recorded: devices to reckon for."),
    ] = "1x24GB,1x80GB,8x80GB",
    trust_remote_code: TrustCode = False,
    allow_gguf: AllowGguf = False,
) -> None:
    """Show steps, tokens, trainable parameters, time, memory and disk; run nothing."""
    from retain import api, printed

    full_size = api.plan_full_size(recipe, overrides or (), devices=words_of(devices))
    if full_size is not None:
        printed.show_full_size(full_size)
        return
    options = api.Options(trust_remote_code=trust_remote_code, allow_gguf=allow_gguf)
    printed.show_plan(api.plan(recipe, overrides or (), runs=runs, options=options))


@app.command()
def studies() -> None:
    """List the recipes that come with retain, and the question of each study."""
    from retain import api

    typer.echo(api.studies())


@app.command(name="eval")
def evaluate(  # noqa: PLR0913 - each is an option of the command
    model: Annotated[str, typer.Argument(help="A folder, a hub id or embedded:NAME.")],
    tasks: Annotated[str, typer.Option(help="Names of tasks or groups, with commas between.")],
    num_fewshot: Annotated[
        str | None,
        typer.Option(
            help="Numbers of shots, with commas between; when left out 0, with --compat lm-eval "
            "what each task's file says."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Items per task; all when left out.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for scores.csv, items.parquet and lm-eval's results file; a killed "
            "evaluation goes on from it."
        ),
    ] = None,
    include_path: Annotated[
        Path | None, typer.Option(help="Folder with lm-eval task files of your own.")
    ] = None,
    compare_with: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Score this model too: differences on the same items."),
    ] = None,
    compat: Annotated[
        str | None,
        typer.Option(help="lm-eval: the harness's own shots and its first documents."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto (by a probe of this machine), fp32 or bf16.")
    ] = "auto",
    trust_remote_code: TrustCode = False,
    allow_gguf: AllowGguf = False,
) -> None:
    """Score MODEL on tasks."""
    from retain import api

    api.allow(api.Options(trust_remote_code=trust_remote_code, allow_gguf=allow_gguf))
    shots = None if num_fewshot is None else _numbers("--num-fewshot", num_fewshot)
    named = words_of(tasks)
    if not named:
        raise RetainError(f"--tasks: got '{tasks}'; name at least one, as embedded_piqa")
    text = api.evaluate(
        model,
        named,
        num_fewshot=shots,
        limit=limit,
        output=output,
        include_path=() if include_path is None else (include_path,),
        compare_with=compare_with,
        compat=compat,
        precision=precision,
    )
    typer.echo(text)


@app.command()
def rehearse(  # noqa: PLR0913 - each is an option of the command
    model: Annotated[str, typer.Argument(help="Who writes: a folder, a hub id or embedded:NAME.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Of the method, as num_tokens=20000 (docs/methods.md)."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="How it is asked: tree_generation, generative_replay.")
    ] = "tree_generation",
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("corpus.jsonl"),
    tasks: Annotated[
        str, typer.Option(help="Leave out what gives an item of these tasks away.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    engine: Annotated[
        str, typer.Option(help="What writes: retain, or vllm on a GPU (retain[vllm]).")
    ] = "retain",
) -> None:
    """Have MODEL write a corpus of what it knows, and say how varied it is."""
    from retain import api

    text = api.rehearse(
        model,
        method,
        values or (),
        output=output,
        tasks=words_of(tasks),
        seed=seed,
        engine=engine,
    )
    typer.echo(text)


@app.command()
def report(
    run_dir: Annotated[str, typer.Argument(help="The folder of a run, as runs/quickstart.")],
    share: Annotated[
        bool,
        typer.Option("--share", help="For others: no text of an item, path, user or host name."),
    ] = False,
) -> None:
    """Write the report of a run again."""
    from retain import api

    typer.echo(api.report(run_dir, share=share))


@app.command()
def compare(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")],
    other: Annotated[str, typer.Argument(metavar="RUN", help="What it is compared with.")],
    runs: Runs = RUNS,
    output: Annotated[Path | None, typer.Option(help="File to write too, as CSV.")] = None,
) -> None:
    """Compare two runs arm by arm on the same items: RUN less the other."""
    from retain import api

    typer.echo(api.compare(run_name, other, runs=runs, output=output))


@app.command(name="list")
def list_steps(
    runs: Runs = RUNS,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check its sha256.")
    ] = False,
) -> None:
    """List the finished steps."""
    from retain import api

    faults = api.list_steps(runs, verify=verify)
    if faults:
        raise RetainError("\n".join(faults))


@app.command()
def explain(
    step: Annotated[str, typer.Argument(help="A step, as `retain list` names it.")],
    runs: Runs = RUNS,
) -> None:
    """Say why a step is new: which fields differ from the nearest finished ones."""
    from retain import api

    typer.echo(api.explain(step, runs))


@app.command()
def export(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")],
    arm: Annotated[str, typer.Argument(help="The arm, or a name in the run's models/ folder.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the model.")],
    runs: Runs = RUNS,
) -> None:
    """Copy an arm's last model folder to DIR, on its own."""
    from retain import api

    typer.echo(api.export(run_name, arm, directory, runs=runs))


@app.command()
def clean(
    run_name: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Forget this run first.")
    ] = None,
    runs: Runs = RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove what no run refers to; say what it frees and what recomputing would cost."""
    from retain import api

    typer.echo(api.clean(runs, run_name, dry_run=dry_run))


@app.command()
def init(
    model: Annotated[str, typer.Option(help="A folder, a hub id or embedded:NAME.")],
    data: Annotated[str, typer.Option(help="Training data: a file, a folder or a hub id.")],
    test: Annotated[str | None, typer.Option(help="A test of your own, as a file.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the data, as ne.")] = None,
    memory: Annotated[str, typer.Option(help="Memory of the device, as 24GB.")] = "16GB",
    output: Annotated[
        Path | None, typer.Option(help="File to write; the terminal when left out.")
    ] = None,
) -> None:
    """Write a commented recipe that fits the memory."""
    from retain import api

    if output is not None and output.exists():
        raise RetainError(f"{output} exists already; name another file with --output")
    text = api.init(model, data, test=test, language=language, memory=memory)
    if output is None:
        typer.echo(text)
        return
    output.write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {output}. Look at it, then: retain run {output}")


@app.command()
def doctor() -> None:
    """Show the device, the precision probe, versions, and what will be used."""
    from retain import api

    typer.echo(api.doctor())


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Teach a language model phase after phase, measure what was forgotten, and prevent it."""
    if version:
        from retain import __version__

        typer.echo(f"retain {__version__}")
        raise typer.Exit


def _numbers(place: str, text: str) -> tuple[int, ...]:
    words = words_of(text)
    if not words or not all(word.isdigit() for word in words):
        raise RetainError(f"{place}: got '{text}'; give numbers with commas between, as 0,1,5")
    return tuple(int(word) for word in words)


def _with_dotted_options(arguments: Sequence[str]) -> list[str]:
    """Let ``--phases.hindi.train.learning_rate 1e-5`` mean what ``….learning_rate=1e-5`` does."""
    rewritten: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and "." in name:
            rewritten.append(f"{name}={value if equals else next(words, '')}")
        else:
            rewritten.append(word)
    return rewritten


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run the command line; the one place where a mistake becomes a message and an exit code."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", PRIMITIVES)
    words = _with_dotted_options(sys.argv[1:] if arguments is None else arguments)
    try:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # leave as on Ctrl-C, with 130
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        return app(args=words, prog_name="retain")
    except RetainError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except GateFailed as gates:
        typer.echo(f"Gate failed:\n{gates}", err=True)
        sys.exit(2)
    except Interrupted as stop:
        typer.echo(f"Interrupted: {stop}", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
