"""The JSON Schema: the settings are in it, references are allowed, secrets have no default."""

import re
from typing import Any

from levada.config import Config
from levada.published import schema


def test_it_names_every_section() -> None:
    found = schema()
    assert set(found["properties"]) == set(Config.model_fields)
    assert found["title"] == "levada.yaml"
    assert found["required"] == ["backends"]
    assert found["additionalProperties"] is False


def test_a_reference_may_stand_for_a_number_a_choice_and_a_truth_value() -> None:
    found = schema()
    reference = {"type": "string", "pattern": r"\$\{[^}]+\}"}
    port: dict[str, Any] = found["$defs"]["Listen"]["properties"]["port"]
    assert port["anyOf"] == [{"type": "integer", "minimum": 0, "maximum": 65535}, reference]
    assert port["default"] == 8080
    assert reference in found["$defs"]["Backend"]["properties"]["verify"]["anyOf"]
    assert reference in found["properties"]["door"]["anyOf"]


def test_a_duration_is_a_number_within_its_range_or_a_text() -> None:
    kinds = schema()["$defs"]["Deadlines"]["properties"]["connect"]["anyOf"]
    assert {"type": "number", "minimum": 0.001, "maximum": 60} in kinds
    patterns = [kind["pattern"] for kind in kinds if kind["type"] == "string"]
    assert any(re.search(pattern, "500ms") for pattern in patterns)
    assert not any(re.search(pattern, "soon") for pattern in patterns)
