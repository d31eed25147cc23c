"""The base of everything that an operator may write.

Pure.
"""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of the file: nothing unknown goes in, nothing changes afterwards."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )
