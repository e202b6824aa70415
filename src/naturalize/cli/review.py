"""``naturalize review``: a person confirms or corrects the class of every cell, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import ModelOption, Overwrite, Root

#: What the review needs that a plain installation leaves out: module → what it is called.
_LIBRARIES = {
    "fastapi": "FastAPI",
    "uvicorn": "uvicorn",
    "sqlalchemy": "SQLAlchemy",
    "argon2": "argon2-cffi",
    "python_multipart": "python-multipart",
}

Inputs = Annotated[
    list[Path],
    typer.Argument(
        help="Images of single cells, whole fields, a reading of fields, a table of predictions, "
        "an evaluation; or a review that was begun.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="Folder of the review.  [default: review-INPUT]", show_default=False
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="CATALOG|BANK|FOLDER",
        help="Labelled cells to show beside those in question.",
        show_default=False,
    ),
]
Target = Annotated[int, typer.Option(min=1, help="Cells that a differential is of.")]
Host = Annotated[
    str,
    typer.Option(help="Address to listen at; others than this machine's need an administrator."),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")]
Who = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Who reviews, without users.  [default: the system's name of you]",
        show_default=False,
    ),
]
AddUser = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:ROLE",
        help="Add a user, or give one another role and password, and end. Roles: reader, reviewer, "
        "admin.",
        show_default=False,
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        help="File whose first line is the password of --add-user.  [default: it is asked for]",
        show_default=False,
    ),
]
PublicName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name by which people reach the server through a proxy that speaks https.",
        show_default=False,
    ),
]
Discard = Annotated[
    bool,
    typer.Option(
        "--discard", help="With --overwrite: replace a review that holds a person's work too."
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(help="Certificate (PEM) to serve by https.", show_default=False),
]
Key = Annotated[Path | None, typer.Option(help="Key (PEM) of the certificate.", show_default=False)]


def review(
    inputs: Inputs,
    out: Out = None,
    model: ModelOption = "pbc11",
    reference: Reference = None,
    target: Target = 100,
    root: Root = None,
    host: Host = "127.0.0.1",
    port: Port = 8765,
    browser: Browser = True,
    name: Who = None,
    add_user: AddUser = None,
    password_file: PasswordFile = None,
    public_name: PublicName = None,
    certificate: Certificate = None,
    key: Key = None,
    discard: Discard = False,
    overwrite: Overwrite = False,
) -> None:
    """Confirm or correct the class of every cell, in a browser.

    Names the cells first where that was not done, then serves the review at http://127.0.0.1:8765
    and opens the browser. All is kept in the folder of the review, change by change: the server
    can be stopped at any time (Ctrl+C), and the same command, or one that names the folder, goes
    on. Nothing is loaded from the internet.

    Without users, whoever sits at this machine is the administrator. Once a user was added,
    everybody logs in. Other machines are served (--host) only if there is an administrator.

    **Examples**

    ```
    naturalize review images
    naturalize review fields -o monday
    naturalize review predictions.csv --reference runs/pbc11/bank
    naturalize review monday --no-browser --port 9000
    naturalize review monday --add-user meier:admin
    naturalize review monday --host 0.0.0.0 --certificate lab.pem --key lab.key
    ```
    """
    from importlib.util import find_spec

    from naturalize.base.errors import InputError, MissingExtraError, SettingsError

    for module, called in _LIBRARIES.items():
        if find_spec(module) is None:
            raise MissingExtraError(called, "review")
    for file, option in ((certificate, "--certificate"), (key, "--key")):
        if file is not None and not file.is_file():
            raise InputError(f"{option} {file}: no such file")
    if (certificate is None) != (key is None):
        raise SettingsError("--certificate and --key belong together; give both")
    if name is not None or certificate is not None:
        from naturalize.review.app import check_certificate
        from naturalize.review.service.users import check_name

        if name is not None:
            name = check_name(name, "--name")
        if certificate is not None and key is not None:
            check_certificate(certificate, key)
    from naturalize.base.artifacts import check_place
    from naturalize.base.process import keep_memory, wait_passively

    if out is not None:
        check_place(out)  # before any cell is named
    keep_memory()
    wait_passively()
    from naturalize.review.service.intake.prepare import held, make

    folder = make(
        inputs, out, model=model, reference=reference, target=target, root=root, discard=discard
    )
    if add_user is not None:
        _add_user(folder, add_user, password_file)
    else:
        with held(folder):
            _serve(folder, host, port, browser, name, public_name, certificate, key)


def _add_user(folder: Path, text: str, password_file: Path | None) -> None:
    from naturalize.base.console import result
    from naturalize.base.errors import InputError, SettingsError, unknown
    from naturalize.review.service import users
    from naturalize.review.service.errors import NoSuchError
    from naturalize.review.service.review import Review
    from naturalize.review.service.roles import ROLES

    name, colon, role = text.rpartition(":")
    if not colon or not name:
        raise SettingsError(f"--add-user {text}: expected NAME:ROLE, such as meier:reviewer")
    if role not in ROLES:
        raise unknown("role", role, list(ROLES))
    if password_file is None:
        password = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True)
    else:
        try:
            password = password_file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{password_file}: cannot be read ({error})") from error
    review = Review.open(folder)
    try:
        try:
            users.update(review, name, role=role, password=password, active=True)
        except NoSuchError:
            users.add(review, name, password, role)
    finally:
        review.close()
    result(f"user: {name} ({role})")


def _serve(
    folder: Path,
    host: str,
    port: int,
    browser: bool,
    name: str | None,
    public_name: str | None,
    certificate: Path | None,
    key: Path | None,
) -> None:
    import sys
    import threading
    import webbrowser

    from naturalize.base.console import result, say, warn
    from naturalize.review.app import LOCAL, bound, create_app, serve, serving_of

    serving = serving_of(
        folder, host, name=name, public_name=public_name, https=certificate is not None
    )
    listening = bound(host, port)
    app = create_app(folder, serving)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    scheme = "https" if certificate else "http"
    address = f"{scheme}://{shown}:{listening.getsockname()[1]}"
    if serving.users and not serving.https and host not in LOCAL:
        warn("passwords travel unencrypted; give --certificate and --key, or --public-name")
    result(f"review: {folder}")
    result(f"address: {address}/")
    sys.stdout.flush()  # whoever reads a pipe waits for the address
    say("Ctrl+C stops the server; every change is kept.")
    if browser:  # a browser in the terminal would hold up the server
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    serve(app, listening, (certificate, key) if certificate and key else None)
    say(f"stopped; naturalize review {folder} goes on")
