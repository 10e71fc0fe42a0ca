"""MODPO for ms-swift."""


def __getattr__(name: str):
    if name == "MODPOTrainer":
        from .trainer import MODPOTrainer

        return MODPOTrainer
    if name == "MODPOConfig":
        from .config import MODPOConfig

        return MODPOConfig
    if name == "MODPOSettings":
        from .settings import MODPOSettings

        return MODPOSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
