"""What a user of a trainer sees of a run: its exact log, its weights, its files, its card."""

from hashlib import blake2b
from pathlib import Path


def weights_digest(model) -> str:
    digest = blake2b(digest_size=8)
    for name, weight in sorted(model.named_parameters()):
        if weight.requires_grad:
            digest.update(name.encode() + weight.detach().float().numpy().tobytes())
    return digest.hexdigest()


def described(trainer) -> dict:
    """As plain JSON values; paths are relative to the run's own folder."""
    folder = Path(trainer.args.output_dir)
    files = sorted(str(path.relative_to(folder)) for path in folder.glob("checkpoint-*/*"))
    return {
        "log": trainer.state.log_history,
        "steps": trainer.state.global_step,
        "epoch": trainer.state.epoch,
        "best_metric": trainer.state.best_metric,
        "weights": weights_digest(trainer.model),
        "trainable": sorted(name for name, weight in trainer.model.named_parameters() if weight.requires_grad),
        "tags": sorted(getattr(trainer.model, "model_tags", None) or []),
        "files": files,
    }
