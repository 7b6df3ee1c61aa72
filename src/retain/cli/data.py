"""The verbs of ``retain data``."""

from pathlib import Path
from typing import Annotated

import typer

from retain.cli.words import words_of
from retain.errors import RetainError

data_app = typer.Typer(
    help="Look at data as the model will see it.", no_args_is_help=True, rich_markup_mode=None
)


@data_app.command()
def show(
    source: Annotated[str, typer.Argument(help="embedded:NAME, a file, a folder or a hub id.")],
    number: Annotated[int, typer.Option("-n", help="How many examples.")] = 3,
    model: Annotated[
        str, typer.Option(help="Whose tokenizer and chat template to use.")
    ] = "embedded:smollm2-135m-instruct",
    objective: Annotated[str, typer.Option(help="sft or pretrain.")] = "sft",
) -> None:
    """Print examples as the model will see them, trained tokens in colour."""
    from retain import api

    api.show_data(source, number, model=model, objective=objective)


@data_app.command()
def check(
    source: Annotated[str, typer.Argument(help="embedded:NAME, a file, a folder or a hub id.")],
    model: Annotated[
        str | None, typer.Option(help="Count tokens with this model's tokenizer too.")
    ] = None,
    max_length: Annotated[int, typer.Option(help="Longest example, in tokens.")] = 1024,
) -> None:
    """Name every fault with file and line, and print statistics; exit 1 on any fault."""
    from retain import api

    faults = api.check_data(source, model=model, max_length=max_length)
    if faults:
        raise RetainError(f"{source}: {faults} fault(s), listed above")


@data_app.command()
def similarity(  # noqa: PLR0913 - each is an option of the command
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="A B [C]...", help="Two data sets or more.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Compare by the mean hidden states of this model.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Compare by this sentence-transformers model.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Examples of each set that are looked at.")] = 500,
    mpd: Annotated[
        str | None, typer.Option(help="Train this model shortly on each; compare the weights.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps of each such training.")] = 20,
    runs: Annotated[
        str | None,
        typer.Option(help="Show instead what the phases of the runs in this folder share."),
    ] = None,
) -> None:
    """Show what data sets share before training: meaning, words, languages, form of answers."""
    from retain import api

    if runs is not None:
        if sources or mpd is not None:
            raise RetainError("--runs looks at the runs' own data; leave out data sets and --mpd")
        api.show_phases_apart(runs, model=model, embedder=embedder, limit=limit)
        return
    api.show_similarity(
        sources or [], model=model, embedder=embedder, limit=limit, mpd=mpd, steps=steps
    )


@data_app.command()
def translate(  # noqa: PLR0913 - each is an option of the command
    source: Annotated[str, typer.Argument(help="Running texts: a file, a folder, a hub id.")],
    model: Annotated[str, typer.Option(help="A model with an encoder, such as one of NLLB.")],
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("pairs.jsonl"),
    column: Annotated[str, typer.Option(help="Column of the translation.")] = "english",
    languages: Annotated[
        str, typer.Option(help="Keep translations in these languages (ISO 639), as en.")
    ] = "",
    from_code: Annotated[
        str | None, typer.Option(help="Language of the texts, as the model calls it: npi_Deva.")
    ] = None,
    to_code: Annotated[
        str | None, typer.Option(help="Language to write, as the model calls it: eng_Latn.")
    ] = None,
    max_length_ratio: Annotated[
        float, typer.Option(help="Letters of the longer side over the shorter's, at most.")
    ] = 3.0,
    max_new_tokens: Annotated[int, typer.Option(help="The most tokens of a translation.")] = 256,
) -> None:
    """Have MODEL translate texts, and write the pairs worth keeping."""
    from retain import api

    text = api.translate_data(
        source,
        model,
        output=output,
        column=column,
        languages=words_of(languages),
        from_code=from_code,
        to_code=to_code,
        max_length_ratio=max_length_ratio,
        max_new_tokens=max_new_tokens,
    )
    typer.echo(text)
