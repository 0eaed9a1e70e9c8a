"""What a client gets for an answer that a guard refuses: the same, empty, and why it ended."""

from typing import Any

from headrace.guard.dialects import FILTERED


def emptied(tree: Any) -> bool:
    """
    Take everything out of a whole answer that is a model's, and say that it was filtered; False
    where its form has no words for that.
    """
    if not isinstance(tree, dict):
        return False
    choices = tree.get("choices")
    if isinstance(choices, list):
        tree["choices"] = [_choice(each) for each in choices if isinstance(each, dict)]
    elif tree.get("object") == "response":
        tree |= {
            "status": "incomplete",
            "output": [],
            "incomplete_details": {"reason": FILTERED},
        }
        tree.pop("output_text", None)
    elif tree.get("type") == "message":
        tree |= {"content": [], "stop_reason": "refusal", "stop_sequence": None}
    else:
        return False
    return True


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = {"index": choice.get("index", 0), "finish_reason": FILTERED}
    if "message" in choice:
        empty["message"] = {"role": "assistant", "content": ""}
    else:
        empty["text"] = ""
    return empty
