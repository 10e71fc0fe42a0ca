"""`python -m launch discriminator-server`: scores and trains a D2PO discriminator in a process of its own.

POST /score, /update, /save and /restore, GET /health, all JSON. On this machine only by default; anywhere else every
request has to carry the token of the environment variable D2PO_SERVER_TOKEN.
"""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasets_builders.command_line import Parser
from launch.cli.verbs import verb_parser
from launch.common.serving import RequestGuard, check_host
from launch.d2po.keeper import Conflict, Keeper
from trl_ext.d2po.discriminator import CHOICES, DiscriminatorSettings, LabelledPair, load_discriminator
from trl_ext.d2po.remote import TOKEN_VARIABLE

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_BYTES = 64 * 2**20  # of one request
Text = Annotated[str, Field(max_length=200_000)]  # characters


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ScoreRequest(Strict):
    prompts: Annotated[list[Text], Field(max_length=4096)]
    responses: Annotated[list[Text], Field(max_length=4096)]

    @model_validator(mode="after")
    def _equally_long(self) -> "ScoreRequest":
        if len(self.prompts) != len(self.responses):
            raise ValueError(f"{len(self.prompts)} prompts and {len(self.responses)} responses: one each is needed")
        return self


class PairRequest(Strict):
    prompt: Text
    chosen: Text
    rejected: Text
    margin: Annotated[float | None, Field(gt=0, allow_inf_nan=False)]


class UpdateRequest(Strict):
    number: Annotated[int, Field(ge=0)]
    pairs: Annotated[list[PairRequest], Field(max_length=65536)]


class RestoreRequest(Strict):
    updates: Annotated[int, Field(ge=0)]


class SaveRequest(Strict):
    pass


def build_app(keeper: Keeper, token: str | None) -> "FastAPI":
    """The server of `keeper`; with a token every request needs it, without one only a local `Host` is answered."""
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    app = FastAPI(openapi_url=None)  # which also turns its pages of documentation off
    app.add_middleware(RequestGuard, most_bytes=MOST_BYTES, local_only=token is None, token=token)
    app.add_exception_handler(Conflict, lambda _, error: JSONResponse({"detail": str(error)}, status_code=409))
    app.add_exception_handler(ValueError, lambda _, error: JSONResponse({"detail": str(error)}, status_code=422))

    # FastAPI's own answer repeats the input, which may be long, or NaN, which JSON has no word for.
    @app.exception_handler(RequestValidationError)
    def invalid(_: Any, error: RequestValidationError) -> JSONResponse:
        found = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()[:10]]
        return JSONResponse({"detail": "; ".join(found)}, status_code=422)

    # Not `async`: these run in threads, so that /health is answered while a model works.
    @app.post("/score")
    def score(request: ScoreRequest) -> dict:
        return {"scores": keeper.score(request.prompts, request.responses)}

    @app.post("/update")
    def update(request: UpdateRequest) -> dict:
        pairs = [LabelledPair(**pair.model_dump()) for pair in request.pairs]
        return {"metrics": keeper.update(pairs, request.number), "updates": request.number + 1}

    @app.post("/restore")
    def restore(request: RestoreRequest) -> dict:
        keeper.restore(request.updates)
        return {"updates": request.updates}

    @app.post("/save")
    def save(request: SaveRequest) -> dict:
        return {"updates": keeper.save()}

    @app.get("/health")
    def health() -> dict:
        updates, digest = keeper.done
        return {"updates": updates, "digest": digest}

    return app


def read_token(host: str) -> str | None:
    """The token of the environment; None without one, which only a loopback address may do.

    Raises:
        ValueError: another address without a token, or a token that no header can carry.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise ValueError(f"{TOKEN_VARIABLE} has characters that no header carries: use letters, digits and -._~")
    check_host(host, token is not None, f"set {TOKEN_VARIABLE} to a secret")
    return token


def explained(name: str) -> str:
    """What the docstring of the settings says about one of them."""
    found = re.search(rf"^        {name}: (.*(?:\n {{12}}.*)*)", DiscriminatorSettings.__doc__ or "", re.MULTILINE)
    assert found, name
    return " ".join(found[1].split())


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("discriminator-server", __doc__)
    parser.add_argument("--discriminator", required=True, metavar="PATH", help="folder of the model it starts from")
    parser.add_argument("--state", required=True, type=Path, metavar="FOLDER", help="where the states are kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8765, help="to listen on")
    parser.add_argument("--device", default="cpu", help="device of the model, such as cuda:0")
    group = parser.add_argument_group("discriminator", "as in trl_ext.d2po.discriminator.DiscriminatorSettings")
    for name, field in DiscriminatorSettings.model_fields.items():
        # --torch_dtype is the name of all verbs; the field is a setting of training too, and keeps its own.
        flag = "--torch_dtype" if name == "dtype" else f"--{name}"
        keywords = {"type": field.annotation, "default": field.default, "choices": CHOICES.get(name)}
        group.add_argument(flag, dest=name, help=explained(name).replace("%", "%%"), **keywords)
    return parser


def main(argv: list[str]) -> int:
    """Serves until it is told to stop."""
    options = make_parser().parse_args(argv)
    token = read_token(options.host)
    settings = DiscriminatorSettings(**{name: getattr(options, name) for name in DiscriminatorSettings.model_fields})
    try:
        import uvicorn
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'swift-trl-ext[server]'") from error
    keeper = Keeper(load_discriminator(options.discriminator, settings, options.device), options.state)
    app = build_app(keeper, token)
    print(f"{keeper.updates} updates done; serving on http://{options.host}:{options.port}", flush=True)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"discriminator-server: {error}")
