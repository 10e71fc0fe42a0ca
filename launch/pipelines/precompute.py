"""Computes what MODPO's reference model and margin say of every row once, and keeps it in a folder (a store).

Flags that are not listed here, and a run file, are those of `swift rlhf`. NPROC_PER_NODE starts so many processes.
"""

import os
import sys
from importlib import import_module

from datasets_builders.command_line import Parser
from launch.cli.verbs import verb_parser

PROGRAM = "swift_ext.modpo.precompute"


def make_parser() -> Parser:
    """The command line; what it does not know is a flag of `swift rlhf`."""
    parser = verb_parser("precompute-margins", __doc__)
    parser.add_argument(
        "--store", required=True, metavar="DIR", help="folder of the store; MODPO_STORE of the training"
    )
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the store is whole."""
    options, flags = make_parser().parse_known_args(argv)
    arguments = ["--store", options.store, *flags]
    processes = os.environ.get("NPROC_PER_NODE")
    if not processes or "RANK" in os.environ:
        return import_module(PROGRAM).main(arguments)
    # The same convention as `swift rlhf`: NPROC_PER_NODE turns torchrun on.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", processes]
    if os.environ.get("MASTER_PORT"):
        launcher += ["--master_port", os.environ["MASTER_PORT"]]
    from launch.common.processes import run

    return run([*launcher, "-m", PROGRAM, *arguments])
