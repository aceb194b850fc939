"""The commands ``mlcommons blueprint list``, ``show`` and ``apply``."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcommons_py.cli.session import Json, Session, Url, client_of
from mlcommons_py.errors import IllegalArgument

if TYPE_CHECKING:
    from mlcommons_py.cli.recipe import Key, Recipe

app = typer.Typer(name="blueprint", help="Models that live at a provider, ready to be set up.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A blueprint; mlcommons blueprint list has them all.")]


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the blueprints."""
    from mlcommons_py import content
    from mlcommons_py.cli import show
    from mlcommons_py.cli.recipe import Recipe

    recipes = [Recipe.load(name) for name in content.names("blueprints")]
    if as_json:
        show.as_json([{"name": one.name, "title": one.title, "provider": one.provider} for one in recipes])
    else:
        show.blueprints([(one.name, one.title) for one in recipes])


@app.command("show")
def show_one(name: Name, as_json: Json = False) -> None:
    """Print what a blueprint needs, and what it sends."""
    from mlcommons_py import content
    from mlcommons_py.cli import show
    from mlcommons_py.cli.recipe import Recipe

    document = content.read("blueprints", name)
    if as_json:
        show.as_json(document)
        return
    recipe = Recipe.load(name)
    show.say(f"{recipe.title}\n{recipe.description}\n{recipe.documentation}\n\nto set:")
    for key in recipe.keys:
        must = "required" if key.default is None else f"[{key.default}]"
        show.say(f"  {key.name}  {key.description} {'secret, ' if key.secret else ''}{must}")
    show.say("\nit sends:")
    show.as_json({part: document[part] for part in ("settings", "connector", "model", "predict")})


@app.command("apply")
def apply_one(
    context: typer.Context,
    name: Name,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a key; not for secrets.")
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option("--set-file", metavar="KEY=PATH", help="Set a key from a file; - is stdin.")
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--set-env", metavar="KEY=NAME", help="Set a key from the environment.")
    ] = None,
    model: Annotated[str | None, typer.Option("--name", help="The model's name.")] = None,
    change_settings: Annotated[
        bool | None,
        typer.Option("--change-settings/--keep-settings", help="Whether to change cluster settings [asks]."),
    ] = None,
    predict: Annotated[bool, typer.Option("--predict/--no-predict", help="Try the model.")] = True,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Set a blueprint up: connector, model, deployment, and a request to try it.

    Keys that are not set are asked for, secrets unseen.
    """
    from mlcommons_py.cli import applying, show
    from mlcommons_py.cli.recipe import Recipe

    recipe = Recipe.load(name)
    session: Session = context.find_object(Session) or Session({})
    given = _given(settings or (), files or (), variables or (), session.environ)
    filled = recipe.filled(recipe.values(_asked(recipe, given)))
    wish = applying.Wish(model, change_settings, predict)
    with client_of(context, url) as client:
        made = applying.apply(client, filled, wish)
    if as_json:
        show.as_json(made)
    else:
        applying.report(filled, made)


def _given(
    settings: Sequence[str], files: Sequence[str], variables: Sequence[str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return what the options set."""
    given = dict(_pair("--set", one) for one in settings)
    for option in files:
        key, path = _pair("--set-file", option)
        try:
            text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise IllegalArgument(f"--set-file {key}: cannot read {path}: {fault}") from fault
        given[key] = text.removesuffix("\n").removesuffix("\r")
    for option in variables:
        key, variable = _pair("--set-env", option)
        if variable not in environ:
            raise IllegalArgument(f"--set-env {key}: the environment has no {variable}")
        given[key] = environ[variable]
    return given


def _pair(option: str, text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise IllegalArgument(f"{option} takes KEY=VALUE, not [{key}]")
    return key, value


def _asked(recipe: "Recipe", given: Mapping[str, str]) -> dict[str, str]:
    """Return what is given, and what the user says to the rest if there is a user."""
    asked = dict(given)
    if sys.stdin.isatty() and sys.stderr.isatty():
        for key in recipe.missing(given):
            asked[key.name] = _ask(key)
    return asked


def _ask(key: "Key") -> str:
    return str(typer.prompt(f"{key.name} ({key.description})", hide_input=key.secret, err=True))
