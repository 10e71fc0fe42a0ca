"""Settings that every method with paired rows has; a subclass gives them its prefix."""

from pydantic import Field
from pydantic_settings import BaseSettings

from swift_ext.shared_prefix.settings import SharedPrefix


class PairedSettings(BaseSettings):
    """Share of pairs with a fault that is accepted, whether ranks write down which pairs they generated, and whether tokens
    that rows have in common are computed once."""

    max_bad_pairs: float = Field(default=0.0, ge=0, le=1)
    log_pairs: bool = False
    shared_prefix: SharedPrefix = "auto"
