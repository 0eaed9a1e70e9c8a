"""
The statement of a rule of AWS WAF, which may contain statements, as a schema of a depth that people
write. Names and types are those of the provider's documentation of ``aws_wafv2_web_acl``.
"""

from typing import Any

Block = dict[str, Any]
DEPTH = 2  # an `and` of `not`s


def statement(depth: int = DEPTH) -> Block:
    """The block ``statement``; below so many levels of and, or and not there are none."""
    managed = _block(required={"name": "string", "vendor_name": "string"}, version="string")
    override = _block(required={"name": "string"})
    override["block_types"]["action_to_use"] = _nested(_action(), least=1)
    managed["block_types"]["rule_action_override"] = _nested(override, most=0)
    rate = _block(
        required={"limit": "number"}, aggregate_key_type="string", evaluation_window_sec="number"
    )
    forwarded = _block(required={"fallback_behavior": "string", "header_name": "string"})
    rate["block_types"]["forwarded_ip_config"] = _nested(forwarded)
    match = _block(required={"positional_constraint": "string", "search_string": "string"})
    size = _block(required={"comparison_operator": "string", "size": "number"})
    for each in (match, size):
        each["block_types"] |= {
            "field_to_match": _nested(_field()),
            "text_transformation": _transformation(),
        }
    kinds = {
        "managed_rule_group_statement": managed,
        "rate_based_statement": rate,
        "byte_match_statement": match,
        "size_constraint_statement": size,
        "ip_set_reference_statement": _block(required={"arn": "string"}),
        "geo_match_statement": _block(country_codes=["list", "string"]),
        "label_match_statement": _block(required={"scope": "string", "key": "string"}),
    }
    found = _block()
    found["block_types"] = {name: _nested(block) for name, block in kinds.items()}
    if depth:
        inner = statement(depth - 1)
        for name, most in (("and_statement", 0), ("or_statement", 0), ("not_statement", 1)):
            group = _block()
            group["block_types"]["statement"] = _nested(inner, least=1, most=most)
            found["block_types"][name] = _nested(group)
        for narrowed in (rate, managed):
            narrowed["block_types"]["scope_down_statement"] = _nested(inner)
    return found


def _block(required: dict[str, Any] | None = None, **optional: Any) -> Block:
    needed = {name: {"type": kind, "required": True} for name, kind in (required or {}).items()}
    free = {name: {"type": kind, "optional": True} for name, kind in optional.items()}
    return {"attributes": needed | free, "block_types": {}}


def _nested(block: Block, least: int = 0, most: int = 1) -> Block:
    return {"nesting_mode": "list", "block": block, "min_items": least, "max_items": most}


def _transformation() -> Block:
    block = _block(required={"priority": "number", "type": "string"})
    return {"nesting_mode": "set", "block": block, "min_items": 1, "max_items": 0}


def _field() -> Block:
    found = _block()
    for name in ("all_query_arguments", "method", "query_string", "uri_path"):
        found["block_types"][name] = _nested(_block())
    found["block_types"]["body"] = _nested(_block(oversize_handling="string"))
    found["block_types"]["single_header"] = _nested(_block(required={"name": "string"}))
    return found


def _action() -> Block:
    found = _block()
    for name in ("allow", "block", "count", "captcha", "challenge"):
        found["block_types"][name] = _nested(_block())
    return found
